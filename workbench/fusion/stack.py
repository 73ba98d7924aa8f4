"""The fused stack: megatron's `HybridStack`, which packs chosen neighbours into one `TransformerLayer` while it builds.

`HybridModel` goes on being built from a plain upstream pattern; it finds this class in the stack spec, with the
bracketed pattern among the spec's parameters (`workbench.fusion.stack_spec` makes such specs). Numbering is canonical
throughout: a block's `layer_number` is the 1-based index of its first sub-layer, a fused channel mixer answers to the
next, and `layer_type_list` stays the list of sub-layers, which is what megatron's inference maps are made from.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from megatron.core.dist_checkpointing.dict_utils import dict_list_map_inplace
from megatron.core.dist_checkpointing.mapping import ShardedBase
from megatron.core.dist_checkpointing.utils import replace_prefix_for_sharding
from megatron.core.fp4_utils import get_fp4_context
from megatron.core.fp8_utils import get_fp8_context
from megatron.core.models.hybrid.hybrid_block import HybridStackSubmodules
from megatron.core.models.hybrid.hybrid_layer_allocation import validate_segment_layers
from megatron.core.transformer.cuda_graphs import annotate_first_last_layer
from megatron.core.transformer.multi_token_prediction import MultiTokenPredictionLayer
from megatron.core.transformer.spec_utils import ModuleSpec, build_module
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.utils import sharded_state_dict_default
from torch import nn

from workbench.arch.names import sublayer_name
from workbench.errors import WorkbenchError
from workbench.fusion.fused_spec import fused_layer_spec, standalone_spec
from workbench.fusion.lean.stack import LeanForward, Plans
from workbench.pattern.model import Pattern
from workbench.pattern.rewrites import fuse_all
from workbench.pattern.symbols import symbol_of


@dataclass(frozen=True)
class BuiltBlock:
    """One module of `stack.layers`: its symbols ("M" or "*-") and the canonical index (from 0) of its first sub-layer."""

    symbols: str
    first: int

    @property
    def fused(self) -> bool:
        """True for a pair in one layer."""
        return len(self.symbols) == 2

    @property
    def sublayers(self) -> tuple[int, ...]:
        """The canonical indices of the sub-layers that this block holds."""
        return tuple(range(self.first, self.first + len(self.symbols)))

    def __str__(self) -> str:
        return f"[{self.symbols}]" if self.fused else self.symbols


class FusedHybridStack(LeanForward):
    """A `HybridStack` whose spec parameters say what is fused.

    `fusion` is the bracketed pattern of the whole model; its symbols must be those of the model. Without it every
    adjacent pair inside a stage is fused. `final_norm` replaces the `TENorm` that upstream ends the stack with, where
    there is no Transformer Engine. `lean` lets fused blocks skip the host work that changes nothing
    (`workbench.fusion.lean`). All other arguments are upstream's.
    """

    def __init__(
        self,
        config: TransformerConfig,
        submodules: HybridStackSubmodules,
        pre_process: bool = True,
        layer_type_list: list[str] | None = None,
        pp_layer_offset: int = 0,
        post_layer_norm: bool = True,
        post_process: bool = True,
        is_mtp_layer: bool = False,
        name: str | None = None,
        fusion: str | None = None,
        final_norm: Any = None,
        lean: bool = True,
        **upstream: Any,
    ) -> None:
        # Upstream sets itself up with no layers at all; the blocks are built below, in its place.
        super().__init__(
            config=config,
            submodules=submodules,
            pre_process=pre_process,
            layer_type_list=[],
            pp_layer_offset=pp_layer_offset,
            post_layer_norm=post_layer_norm and final_norm is None,
            post_process=post_process,
            is_mtp_layer=is_mtp_layer,
            name=name,
            **upstream,
        )
        if getattr(config, "mla_down_proj_fusion", False):
            submodules = self._fuse_mla_down_proj(submodules)
        self.layer_type_list = list(layer_type_list or ())
        self.pp_layer_offset = pp_layer_offset
        self.submodules = submodules
        self.lean, self._plans = lean, Plans()
        self.blocks = plan_blocks(self.layer_type_list, pp_layer_offset, fusion, is_mtp_layer)
        for block in self.blocks:
            # Names are canonical within the segment, as upstream's: quantization recipes choose by them.
            self.layers.append(
                self._build_block(block, f"{name}.layers.{block.first - pp_layer_offset}" if name else None)
            )
        if config.cuda_graph_impl == "local":
            annotate_first_last_layer(self.layers)
        self.num_layers_per_pipeline_rank = len(self.layers)
        self.post_layer_norm = post_layer_norm
        if final_norm is not None and post_process and post_layer_norm:
            self.final_norm = final_norm(config=config, hidden_size=config.hidden_size, eps=config.layernorm_epsilon)

    # ------------------------------------------------------------------------------------ building

    def _build_block(self, block: BuiltBlock, name: str | None) -> nn.Module:
        spec = (
            fused_layer_spec(block.symbols, self.submodules)
            if block.fused
            else standalone_spec(block.symbols, self.submodules)
        )
        arguments = self._layer_arguments(block.symbols[0])
        if block.fused:
            # A MambaLayer does not know this argument; a TransformerLayer that is not told counts earlier stages twice.
            arguments["add_layer_offset"] = False
        with self._quantized_init(block.first):
            layer = build_module(
                spec,
                config=self.config,
                layer_number=block.first + 1,
                pg_collection=self.pg_collection,
                name=name,
                **arguments,
            )
        if block.fused:
            self._finish_fused(layer, block)
        return layer

    def _layer_arguments(self, symbol: str) -> dict[str, Any]:
        """What upstream's stack passes to a layer of this kind beyond the common arguments (`hybrid_block.py:139-221`)."""
        slot = symbol_of(symbol).spec_slot
        if slot == "mamba_layer":
            return {"pp_layer_offset": self.pp_layer_offset}
        if slot in ("attention_layer", "dsa_layer", "mla_layer"):
            return {
                "is_mtp_layer": self.is_mtp_layer,
                "add_layer_offset": False,
                "pp_layer_offset": self.pp_layer_offset,
            }
        return {"add_layer_offset": False}

    def _finish_fused(self, layer: Any, block: BuiltBlock) -> None:
        # The router's statistics and the expert layer's own number are those of the stand-alone channel mixer.
        if hasattr(layer.mlp, "set_layer_number"):
            layer.mlp.set_layer_number(block.first + 2)
        if block.symbols[0] == "M":
            # MambaLayer holds its mixer before its norm. Sums over all parameters (the gradient norm that clips) are taken
            # in module order, so the order is kept for the twins to agree to the last bit.
            children = dict(layer._modules)
            layer._modules.clear()
            layer._modules.update({"self_attention": children.pop("self_attention")} | children)
            # MambaLayer casts to params_dtype before its norm (ssm/mamba_layer.py:155); TransformerLayer does not, and
            # with an fp32 residual stream the two differ.
            if self.config.fp32_residual_connection:
                layer.input_layernorm.register_forward_pre_hook(_to_params_dtype(self.config.params_dtype))

    def _quantized_init(self, sublayer: int) -> Any:
        if self.config.fp8:
            return get_fp8_context(self.config, sublayer, is_init=True)
        if self.config.fp4:
            return get_fp4_context(self.config, sublayer, is_init=True)
        return nullcontext()

    # ----------------------------------------------------------------------------------- inference

    def mamba_state_shapes_per_request(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Shapes of the convolution and SSM states of one Mamba sub-layer and one sequence; None without Mamba here."""
        for block, layer in zip(self.blocks, self.layers, strict=True):
            if block.symbols[0] == "M":
                holder = layer.self_attention if block.fused else layer
                self._check_chunk_size_is_found(holder if block.fused else layer.mixer)
                return holder.mamba_state_shapes_per_request()
        return None

    def _check_chunk_size_is_found(self, mixer: Any) -> None:
        # MambaInferenceStateConfig.from_model asks for the shapes, then pairs sub-layers with modules by position
        # (inference/config.py:66-70) and takes 128 where that finds no mixer.
        pairs = zip(self.layer_type_list, self.layers, strict=False)
        found = [layer.mixer.chunk_size for symbol, layer in pairs if symbol == "M" and hasattr(layer, "mixer")]
        if (found or [128])[0] != mixer.chunk_size:
            warnings.warn(
                f"megatron's MambaInferenceStateConfig.from_model takes a chunk size of 128 for this fused model, whose Mamba layers "
                f"have {mixer.chunk_size}; use workbench.fusion.inference.mamba_state_config",
                stacklevel=3,
            )

    # ---------------------------------------------------------------------------------- checkpoints

    def sharded_state_dict(
        self,
        prefix: str = "",
        sharded_offsets: tuple[Any, ...] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Upstream's sharded state dict with canonical keys: every sub-layer is stored as if it stood alone."""
        state: dict[str, Any] = {}
        for local_index, (block, layer) in enumerate(zip(self.blocks, self.layers, strict=True)):
            live = f"{prefix}layers.{local_index}."
            part = layer.sharded_state_dict(live, [], metadata)
            if block.fused:
                self._rename_fused(part, live, f"{prefix}layers.", block)
            else:
                replace_prefix_for_sharding(part, live, f"{prefix}layers.{block.first}.")
            state.update(part)
        for name, module in self.named_children():
            if module is not self.layers:
                state.update(
                    sharded_state_dict_default(
                        module, f"{prefix}{name}.", sharded_offsets, metadata, tp_group=self.tp_group
                    )
                )
        return state

    def _rename_fused(self, part: dict[str, Any], live: str, layers: str, block: BuiltBlock) -> None:
        """Give each entry of a fused block's sharded state dict the key of its sub-layer standing alone, in place."""
        maps = [
            standalone_spec(symbol, self.submodules).submodules.sharded_state_dict_keys_map for symbol in block.symbols
        ]

        def rename(entry: Any) -> Any:
            if isinstance(entry, ShardedBase):
                position, alone = sublayer_name(block.symbols, entry.key.removeprefix(live))
                for local, canonical in maps[position].items():
                    if alone.startswith(local):
                        alone = canonical + alone.removeprefix(local)
                        break
                entry.key = f"{layers}{block.first + position}.{alone}"
            return entry

        dict_list_map_inplace(rename, part)


class FusedMultiTokenPredictionLayer(MultiTokenPredictionLayer):
    """A multi-token-prediction layer whose inner stack is fused.

    On its pattern path upstream builds `HybridStack` by name (`transformer/multi_token_prediction.py:1018`); given no
    pattern it builds the spec in `submodules.mtp_model_layer`. So the inner stack is handed over as that spec, and the
    pattern is set afterwards: `forward` and `sharded_state_dict` look at it to know that the inner module is a stack.
    """

    def __init__(
        self,
        config: TransformerConfig,
        submodules: Any,
        mtp_layer_pattern: str | None = None,
        hybrid_submodules: HybridStackSubmodules | None = None,
        fusion: str | None = None,
        lean: bool = True,
        **upstream: Any,
    ) -> None:
        if mtp_layer_pattern is None or hybrid_submodules is None:
            raise WorkbenchError("a fused multi-token-prediction layer is built from a hybrid pattern")
        inner = ModuleSpec(
            module=_MultiTokenPredictionStack,
            params={
                "layer_type_list": validate_segment_layers(mtp_layer_pattern),
                "post_layer_norm": False,
                "fusion": fusion,
                "lean": lean,
            },
            submodules=hybrid_submodules,
        )
        super().__init__(config, replace(submodules, mtp_model_layer=inner), **upstream)
        self.mtp_layer_pattern = mtp_layer_pattern


class _MultiTokenPredictionStack(FusedHybridStack):
    """The stack inside a multi-token-prediction layer, which numbers its own layers from 1 in every depth."""

    def __init__(self, *args: Any, layer_number: int = 1, vp_stage: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


# ------------------------------------------------------------------------------------------- planning


def plan_blocks(
    symbols: list[str], offset: int, fusion: str | None, is_mtp_layer: bool = False
) -> tuple[BuiltBlock, ...]:
    """The blocks of one pipeline segment: `symbols` of the sub-layers from canonical index `offset` on.

    Raises `WorkbenchError` when the fusion pattern has other symbols than the model, or a group of it lies across the
    end of the segment.
    """
    if fusion is None:
        pattern = fuse_all(Pattern("".join(symbols)))
        first, planned = offset, pattern.blocks
    else:
        pattern = Pattern(fusion)
        first, planned = 0, (pattern.mtp.blocks if is_mtp_layer and pattern.mtp else pattern.blocks)
    blocks = tuple(BuiltBlock(block.symbols, block.sublayers[0] + first) for block in planned)
    end = offset + len(symbols)
    here = tuple(block for block in blocks if offset <= block.sublayers[-1] and block.first < end)
    if any(block.first < offset or block.sublayers[-1] >= end for block in here):
        raise WorkbenchError(
            f"pattern {fusion!r}: a fused pair lies across the pipeline split at sub-layer {offset} or {end}; put a '|' between "
            "blocks where the pipeline is to be split"
        )
    if "".join(block.symbols for block in here) != "".join(symbols):
        raise WorkbenchError(
            f"the model is built from {''.join(symbols)!r} (sub-layers {offset} to {end - 1}), and the stack spec was made for "
            f"{fusion!r}, which has {''.join(block.symbols for block in here)!r} there"
        )
    return here


def stacks(model: nn.Module) -> Iterator[tuple[str, FusedHybridStack]]:
    """Every fused stack of a model with the prefix of its names: `decoder.`, `mtp.layers.0.mtp_model_layer.`, ..."""
    for name, module in model.named_modules():
        if isinstance(module, FusedHybridStack):
            yield f"{name}." if name else "", module


def _to_params_dtype(dtype: torch.dtype) -> Any:
    def cast(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0].to(dtype), *inputs[1:])

    return cast
