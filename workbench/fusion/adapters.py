"""Small modules that let megatron's own classes meet: a norm and two linears for the local backend, Mamba in the attention slot.

None of them changes what is computed. Each says which upstream line it stands for.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.ssm.mamba_mixer import MambaMixer
from megatron.core.tensor_parallel.layers import RowParallelLinear
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker, get_data_parallel_rng_tracker_name
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.utils import divide
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import WorkbenchError


class LocalNorm(nn.Module):
    """RMSNorm or LayerNorm as the config asks, over the last dimension of [..., hidden_size].

    Stands for `WrappedTorchNorm` (`transformer/torch_norm.py:28`), which ignores `params_dtype` and refuses
    zero-centred gamma and sequence parallelism; the MoE layer under tensor parallelism needs the latter
    (`transformer/moe/moe_layer.py:630`). As Transformer Engine's norm it computes in the dtype of its weight: with an fp32
    residual stream what comes in is wider than the linears that follow.

    Parameters: `weight` [hidden_size], `bias` [hidden_size] for LayerNorm.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **_: Any) -> None:
        super().__init__()
        if config.normalization not in ("RMSNorm", "LayerNorm"):
            raise WorkbenchError(
                f"normalization {config.normalization!r} is not one of 'LayerNorm', 'RMSNorm' (the local backend's norms)"
            )
        self.hidden_size, self.eps = hidden_size, eps
        self.zero_centered = config.layernorm_zero_centered_gamma
        options = {"dtype": config.params_dtype, "device": torch.cuda.current_device()}
        fill = torch.zeros if self.zero_centered else torch.ones
        self.weight = nn.Parameter(fill(hidden_size, **options))
        self.bias = nn.Parameter(torch.zeros(hidden_size, **options)) if config.normalization == "LayerNorm" else None
        for parameter in self.parameters():
            _mark_sequence_parallel(parameter, config)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden_size] of any dtype → the same shape in the dtype of the weight."""
        weight = self.weight + 1 if self.zero_centered else self.weight
        if weight.dtype != x.dtype:
            x = x.to(weight.dtype)
        if self.bias is None:
            return F.rms_norm(x, (self.hidden_size,), weight, self.eps)
        return F.layer_norm(x, (self.hidden_size,), weight, self.bias, self.eps)


def _mark_sequence_parallel(parameter: nn.Parameter, config: TransformerConfig) -> None:
    """Under sequence parallelism megatron sums the gradients of so marked parameters over the tensor-parallel ranks."""
    setattr(parameter, "sequence_parallel", config.sequence_parallel)  # noqa: B010  (not an attribute that torch declares)


class DuplicatedLinear(nn.Module):
    """A linear whose weight [output_size, input_size] is whole on every tensor-parallel rank; returns (output, None).

    Stands for `TELinear(parallel_mode="duplicated")` (`extensions/transformer_engine.py:865`), as the DSA indexer asks
    for it (`transformer/experimental_attention_variant/dsa.py:1159-1204`).
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        config: TransformerConfig,
        init_method: Any,
        bias: bool,
        parallel_mode: str,
        **_: Any,
    ) -> None:
        super().__init__()
        if parallel_mode != "duplicated" or bias:
            raise WorkbenchError(
                f"DuplicatedLinear is for parallel_mode='duplicated' without bias, not {parallel_mode!r}, bias={bias}"
            )
        self.weight = nn.Parameter(
            torch.empty(output_size, input_size, dtype=config.params_dtype, device=torch.cuda.current_device())
        )
        if config.perform_initialization:
            # The data-parallel stream is the one that tensor-parallel ranks share: they must draw the same weight.
            with get_cuda_rng_tracker().fork(get_data_parallel_rng_tracker_name()):
                init_method(self.weight)
        _mark_sequence_parallel(self.weight, config)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """[..., input_size] → ([..., output_size], None)."""
        return F.linear(x, self.weight), None


class ExpertRowParallelLinear(RowParallelLinear):
    """`RowParallelLinear` whose output may be written to, as `MLP` does with an expert's bias (`transformer/mlp.py:353`).

    On one rank the reduction hands its input on, and autograd refuses to write into that.
    """

    def forward(self, input_: Tensor) -> tuple[Tensor, Tensor | None]:
        """[..., input_size] → ([..., output_size], bias)."""
        output, bias = super().forward(input_)
        return (output if bias is None else output.clone()), bias


class MLADotProductAttention(DotProductAttention):
    """`DotProductAttention` for multi-latent attention, whose values have a width of their own.

    `MultiLatentAttention` names the widths of keys and values (`transformer/multi_latent_attention.py:214-216`); the
    local class takes neither and sizes its output by the keys (`transformer/dot_product_attention.py:64`).
    """

    def __init__(self, *args: Any, k_channels: int | None = None, v_channels: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if v_channels is not None:
            heads = self.config.num_attention_heads
            self.hidden_size_per_partition = divide(v_channels * heads, self.tp_group.size())


class MambaMixerAsAttention(MambaMixer):
    """A `MambaMixer` in the self-attention slot of a `TransformerLayer`; parameters and results are `MambaMixer`'s own.

    The slot builds without `d_model` (`transformer/transformer_layer.py:378`), which `MambaLayer` takes from the hidden
    size, and calls with rotary embeddings and masks (`:615`), which a Mamba mixer has no use for. Its name is the one that
    `MambaLayer` gives: quantization recipes choose by name (`quantization/utils.py`).
    """

    def __init__(self, config: TransformerConfig, *args: Any, cp_comm_type: Any = None, **kwargs: Any) -> None:
        kwargs.setdefault("d_model", config.hidden_size)
        if kwargs.get("name"):
            kwargs["name"] = kwargs["name"].removesuffix(".self_attention") + ".mixer"
        super().__init__(config, *args, **kwargs)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        inference_context: Any = None,
        packed_seq_params: Any = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """[s, b, h] → ([s, b, h], bias), whatever the attention slot passes along."""
        return super().forward(hidden_states, inference_context=inference_context, packed_seq_params=packed_seq_params)
