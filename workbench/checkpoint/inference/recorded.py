"""What a checkpoint says of itself beside its tensors: a pattern on record, Megatron-LM's arguments, a `config.json`. Pure.

Whatever is there is a claim: `infer` holds it against the shapes. Values of an unexpected type are no claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.arch.hugging_face import from_hugging_face
from workbench.arch.megatron.sizes import GDN, INDEXER, LATENT, MAMBA, WHOLE
from workbench.arch.needs import symbols_in
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.inference.unknown_sizes import IS_GATED, PADDED
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

_PLAIN = (int, float, bool, str)
# Size → attribute of Megatron-LM's `args`, where that is not the config field's name.
_ARGS = {
    **{size: name for table in (WHOLE, MAMBA, GDN, LATENT, INDEXER) for size, name in table.items()},
    "max_sequence_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
    "num_attention_heads": "num_attention_heads",
    "head_dim": "kv_channels",
    "rotary_base": "rotary_base",
    "moe_experts": "num_experts",
    "moe_topk": "moe_router_topk",
    "moe_shared_ffn": "moe_shared_expert_intermediate_size",
    "moe_latent_size": "moe_latent_size",
    "moe_router_bias": "moe_router_enable_expert_bias",
    "shared_expert_gate": "moe_shared_expert_gate",
    PADDED: "padded_vocab_size",
}
# Not there means none, and is a claim; elsewhere it means that nothing is said.
_MAY_BE_NONE = frozenset({"q_lora_rank", "moe_shared_ffn", "moe_latent_size"})


@dataclass(frozen=True)
class Claim:
    """What one source says: a pattern, sizes by name (as `plain_values` has them), and `notes` on what it could not say."""

    source: str
    pattern: Pattern | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def claims(values: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Everything that the values beside the tensors claim, the most exact first."""
    found = [_on_record(values), _config(values), _arguments(values.get("args"))]
    return tuple(claim for claim in found if claim is not None)


def plain_values(sizes: ModelSizes, pattern: Pattern) -> dict[str, Any]:
    """Sizes by name with the defaults that depend on others written out, so that equal models have equal values."""
    values = sizes.to_json()
    values |= {
        "head_dim": sizes.attention_head_dim,
        "num_query_groups": sizes.num_query_groups or sizes.num_attention_heads,
        "mamba_num_heads": sizes.mamba_heads,
        "moe_aux_loss_coeff": sizes.aux_loss_coeff,
        "moe_shared_experts": sizes.moe_shared_experts or None,
        IS_GATED: sizes.gated,
    }
    if sizes.vocab_size is not None:
        values[PADDED] = sizes.padded_vocabulary
    if sizes.q_lora_rank is None:
        values.pop("mla_down_proj_fusion")  # there is nothing to fuse
    if not sizes.moe_shared_ffn:
        values["shared_expert_gate"] = False
    if symbols_in(pattern) <= {"M", "G"}:
        values.pop("linear_bias")  # no layer has one, whatever the sizes say
    return values


def iteration_of(values: Mapping[str, Any]) -> int | None:
    """Optimizer steps, where they are on record."""
    step = values.get("iteration")
    return step if isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 2**63 else None


# ------------------------------------------------------------------------------------------------------


def _on_record(values: Mapping[str, Any]) -> Claim | None:
    record = values.get("workbench")
    text = record.get("pattern") if isinstance(record, Mapping) else None
    return _claim("the pattern on record", text) if isinstance(text, str) else None


def _config(values: Mapping[str, Any]) -> Claim | None:
    """A Hugging Face configuration: the values themselves, or one of them."""
    config = values if "model_type" in values else values.get("config.json", values.get("config"))
    if not isinstance(config, Mapping) or ("model_type" not in config and "text_config" not in config):
        return None
    try:
        found = from_hugging_face(config)
    except WorkbenchError as error:
        return Claim("config.json", notes=(str(error),))
    said = plain_values(found.sizes, found.pattern)
    # What the sizes have whatever the file says is no word of its.
    unsaid = {
        "moe_aux_loss_coeff": found.sizes.moe_aux_loss_coeff is None,
        "rotary_base": not found.sizes.rotary_percent,
    }
    return Claim(
        "config.json",
        found.pattern,
        {name: value for name, value in said.items() if not unsaid.get(name)},
        found.caveats,
    )


def _arguments(held: Any) -> Claim | None:
    """Megatron-LM's `args`: the `argparse.Namespace` of a run, read as a mapping."""
    if not isinstance(held, Mapping):
        return None
    args = {str(name): value for name, value in held.items() if value is None or type(value) in _PLAIN}
    values = {
        size: args[name]
        for size, name in _ARGS.items()
        if name in args and (args[name] is not None or size in _MAY_BE_NONE)
    }
    values |= _by_rule(args)
    text = args.get("hybrid_layer_pattern") or args.get("hybrid_override_pattern")
    depth, depths = args.get("mtp_hybrid_override_pattern"), args.get("mtp_num_layers")
    if (
        isinstance(text, str)
        and "/" not in text
        and isinstance(depth, str)
        and isinstance(depths, int)
        and depths < 1000
    ):
        text += f"/{depth}" * depths
    claim = _claim("args", text) if isinstance(text, str) else Claim("args")
    return Claim(claim.source, claim.pattern, values, claim.notes)


def _by_rule(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that are no size as they are."""
    values: dict[str, Any] = {}
    if "untie_embeddings_and_output_weights" in args:
        values["tied_embeddings"] = not args["untie_embeddings_and_output_weights"]
    if "swiglu" in args:
        values[IS_GATED] = bool(args["swiglu"])
        plain = "squared_relu" if args.get("squared_relu") else "gelu"
        values["activation"] = "swiglu" if args["swiglu"] else plain
    if args.get("quick_geglu"):
        values |= {IS_GATED: True, "activation": "geglu"}
    if "softmax_type" in args:
        values["attention_sinks"] = args["softmax_type"] == "learnable"
    heads, groups = args.get("num_attention_heads"), args.get("num_query_groups")
    if heads is not None and "group_query_attention" in args:
        values["num_query_groups"] = groups if args["group_query_attention"] else heads
    width = args.get("moe_ffn_hidden_size") or args.get("ffn_hidden_size")
    if width is not None:
        values["moe_ffn"] = width
    if isinstance(position := args.get("position_embedding_type"), str):
        share = args.get("rotary_percent", 1.0)
        part = f" {round(share * 100)}%" if position == "rope" and isinstance(share, float) and share < 1 else ""
        values["position_embedding"] = position + part
    return values


def _claim(source: str, text: str) -> Claim:
    try:
        return Claim(source, Pattern(text))
    except WorkbenchError:
        return Claim(source, notes=(f"{source} is {text[:200]!r}, which is no pattern",))
