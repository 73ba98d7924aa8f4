"""The spec of a fused block `[XY]`, derived from the stand-alone specs of X and Y, whatever spec the user brings.

One `TransformerLayer` has a slot for each half: X's norm, mixer and bias-dropout-add fill the attention slots, Y's the
MLP slots. What is not a slot (the class of the layer, parameters of a spec) must be the same for both or belong to one
only; anything else is an error that names it, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from megatron.core.models.hybrid.hybrid_block import HybridStackSubmodules
from megatron.core.ssm.mamba_layer import MambaLayer, MambaLayerSubmodules
from megatron.core.ssm.mamba_mixer import MambaMixer
from megatron.core.ssm.mlp_layer import MLPLayer
from megatron.core.transformer.identity_op import IdentityFuncOp, IdentityOp
from megatron.core.transformer.spec_utils import ModuleSpec, get_module
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules

from workbench.errors import WorkbenchError
from workbench.fusion.adapters import MambaMixerAsAttention
from workbench.pattern.symbols import symbol_of

# Layer classes that add nothing to what a TransformerLayer does with the filled slots.
_PLAIN = (TransformerLayer, MLPLayer, MambaLayer)

# Parameters of a layer that act on both halves of a fused one.
_SHARED = ("hidden_dropout",)


class SpecError(WorkbenchError):
    """Two stand-alone specs cannot share one layer; the text says which part of which slot stands in the way."""


@dataclass(frozen=True)
class ChannelMixer:
    """Builds Y's `mlp` as its stand-alone layer would, inside a layer that was built for X.

    Its name is that of the next sub-layer: quantization recipes choose by name (`quantization/utils.py`).

    megatron's stack does not tell stand-alone channel mixers that they are in an MTP layer
    (`models/hybrid/hybrid_block.py:195-211`), and the router's statistics depend on it
    (`transformer/moe/router.py:577-591`), so the fused layer must not tell them either.
    """

    build: Any

    def __call__(self, **kwargs: Any) -> Any:
        """Build the module; keyword arguments are those of `TransformerLayer` to its `mlp` slot."""
        kwargs["is_mtp_layer"] = False
        if kwargs.get("name"):
            kwargs["name"] = _in_next_sublayer(kwargs["name"])
        return self.build(**kwargs)


def fused_layer_spec(symbols: str, submodules: HybridStackSubmodules) -> ModuleSpec:
    """The `ModuleSpec` of the block `[XY]` for `symbols` = "XY".

    `sharded_state_dict_keys_map` is left empty: the stack first gives every tensor its stand-alone name, then applies
    the stand-alone maps (`workbench.fusion.stack`). Raises `SpecError` when the two specs do not fit one layer.
    """
    x, y = symbols[0], symbols[1]
    x_spec, y_spec = standalone_spec(x, submodules), standalone_spec(y, submodules)
    mixer = _mixer_slots(x, x_spec)
    channel = _channel_slots(y, y_spec)
    return ModuleSpec(
        module=_layer_class(symbols, get_module(x_spec), get_module(y_spec)),
        params=_merged(symbols, x_spec.params, y_spec.params),
        submodules=TransformerLayerSubmodules(**mixer, **channel),
    )


def standalone_spec(symbol: str, submodules: HybridStackSubmodules) -> ModuleSpec:
    """The user's spec of the stand-alone layer of a symbol; `SpecError` when the stack spec has none."""
    slot = symbol_of(symbol).spec_slot
    spec = getattr(submodules, slot, IdentityOp)
    if not isinstance(spec, ModuleSpec):
        raise SpecError(f"the stack spec has no {slot!r}, which {symbol!r} ({symbol_of(symbol).name}) is built from")
    return spec


def _mixer_slots(symbol: str, spec: ModuleSpec) -> dict[str, Any]:
    given = spec.submodules
    if isinstance(given, MambaLayerSubmodules):
        return {
            "input_layernorm": given.norm,
            "self_attention": _mamba_as_attention(given.mixer),
            "self_attn_bda": given.mamba_bda,
        }
    slots = {"input_layernorm", "self_attention", "self_attn_bda"}
    return _only(symbol, given, slots)


def _channel_slots(symbol: str, spec: ModuleSpec) -> dict[str, Any]:
    slots = _only(symbol, spec.submodules, {"pre_mlp_layernorm", "mlp", "mlp_bda"})
    return {**slots, "mlp": ChannelMixer(slots["mlp"])}


def _only(symbol: str, given: Any, wanted: set[str]) -> dict[str, Any]:
    """The wanted slots of a `TransformerLayerSubmodules`; any other slot that is filled would be lost, so it is an error."""
    if not isinstance(given, TransformerLayerSubmodules):
        raise SpecError(
            f"{symbol!r} ({symbol_of(symbol).name}): its spec holds {type(given).__name__}, which is not a TransformerLayer's; "
            "a block can only be fused from layers whose parts are known"
        )
    filled = {
        field.name
        for field in fields(TransformerLayerSubmodules)
        if field.name != "sharded_state_dict_keys_map"
        and getattr(given, field.name) not in (IdentityOp, IdentityFuncOp)
    }
    if filled - wanted:
        raise SpecError(
            f"{symbol!r} ({symbol_of(symbol).name}): its spec also fills {', '.join(sorted(filled - wanted))}, so it is more than "
            "one half of a block and cannot be fused"
        )
    return {name: getattr(given, name) for name in wanted}


def _mamba_as_attention(mixer: Any) -> ModuleSpec:
    if not isinstance(mixer, ModuleSpec) or get_module(mixer) is not MambaMixer:
        found = get_module(mixer)
        raise SpecError(
            f"'M' (Mamba-2): the mixer is {getattr(found, '__name__', found)!r}; only megatron's MambaMixer is known to "
            "work in the attention slot of a TransformerLayer"
        )
    return replace(mixer, module=MambaMixerAsAttention)


def _layer_class(symbols: str, x: type, y: type) -> type:
    special = [cls for cls in (x, y) if cls not in _PLAIN]
    if len(set(special)) > 1:
        raise SpecError(
            f"[{symbols}]: the stand-alone layers are {x.__name__} and {y.__name__}, each with behaviour of its own; one layer "
            "cannot be both"
        )
    chosen = special[0] if special else TransformerLayer
    if not issubclass(chosen, TransformerLayer):
        raise SpecError(f"[{symbols}]: the stand-alone layer {chosen.__name__} is not a TransformerLayer")
    if issubclass(chosen, MLPLayer):
        raise SpecError(
            f"[{symbols}]: the stand-alone layer {chosen.__name__} is an MLPLayer with behaviour of its own, and an MLPLayer has no "
            "place for a sequence mixer; derive it from TransformerLayer to fuse it"
        )
    return chosen


def _merged(symbols: str, x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    for name in x.keys() & y.keys():
        if x[name] != y[name]:
            raise SpecError(f"[{symbols}]: the stand-alone specs disagree on {name!r}: {x[name]!r} against {y[name]!r}")
    for name in _SHARED:
        if (name in x) != (name in y):
            raise SpecError(
                f"[{symbols}]: only the stand-alone spec of {symbols[name not in x]!r} sets {name!r}, and one layer "
                "has one for both halves"
            )
    return {**x, **y}


def _in_next_sublayer(name: str) -> str:
    """ "decoder.layers.3.mlp" → "decoder.layers.4.mlp"; a name without a layer index comes back as it is."""
    layers, _, module = name.rpartition(".")
    layers, _, index = layers.rpartition(".")
    return f"{layers}.{int(index) + 1}.{module}" if index.isdigit() else name
