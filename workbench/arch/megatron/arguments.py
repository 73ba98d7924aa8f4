"""Megatron-LM command-line arguments ↔ a pattern and sizes. Pure: text in, text out, nothing is run.

A missing flag means Megatron's default, which is often not ours: LayerNorm, biases, GELU, tied embeddings, learned
positions, dropout of 0.1. Which flag holds which field is the table of `megatron.flags`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.arch.megatron.flags import flag_of
from workbench.arch.megatron.options import Options, read_options
from workbench.arch.megatron.sizes import EXPERTS, GDN, INDEXER, LATENT, MAMBA, WHOLE, sizes_of_fields
from workbench.arch.needs import NEEDS, check_needs, symbols_in
from workbench.arch.sizes import ModelSizes
from workbench.arch.used import used_sizes
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of

_ATTENTION, _LATENT = {"*", "+", "D"}, {"+", "D"}
_ACTIVATION_FLAGS = {"swiglu": "--swiglu", "squared_relu": "--squared-relu", "gelu": None}


@dataclass(frozen=True)
class ConvertedArguments:
    """What a command line says of a model, and what it says that the sizes have no place for, one text a caveat."""

    pattern: Pattern
    sizes: ModelSizes
    caveats: tuple[str, ...]


# --------------------------------------------------------------------------------------------- reading


def from_arguments(arguments: Sequence[str] | str) -> ConvertedArguments:
    """The pattern and sizes of an argument list, or of the text of a script fragment that holds one.

    Sizes of layer kinds that the pattern does not have are "not there". Flags about running (`--lr`, parallel sizes) are
    passed over, but for the tensor-parallel size, for which the vocabulary is padded. In a script, flags before the
    launched `.py` are the launcher's, and variables count where the text sets them once. Raises `PatternError`, or
    `WorkbenchError` when the pattern or a size is missing, and as `megatron.options.read_options` says.
    """
    options = read_options(arguments)
    values = dict(options.values)
    pattern = _pattern(values)
    caveats = [*options.caveats]
    counted = (
        ("num_layers", len(pattern.sublayers), "sub-layers"),
        ("mtp_num_layers", pattern.mtp.depths if pattern.mtp else 0, "MTP depths"),
    )
    for field, number, what in counted:
        if values[field] not in (None, number):
            caveats.append(f"{flag_of(field)}={values[field]}: the pattern has {number} {what}, and that counts")
    _complete(pattern, values)
    padded = values["padded_vocab_size"]
    vocabulary = padded if padded is not None else values["vocab_size"]
    if vocabulary is None:
        caveats.append("--vocab-size is not there: the tokenizer decides, which the flags do not hold")
    multiple = values["make_vocab_size_divisible_by"] * values["tensor_model_parallel_size"]
    found = sizes_of_fields(
        values,
        activation=_activation(values),
        vocab_size=vocabulary,
        vocab_multiple=multiple if padded is None and values["pad_vocab_size"] else 1,
        max_sequence_length=_sequence_length(values),
        share_embeddings_and_output_weights=not values["untie_embeddings_and_output_weights"],
        position_embedding_type=values["position_embedding_type"],
        rotary_percent=values["rotary_percent"],
        rotary_base=values["rotary_base"],
        called=flag_of,
    )
    _check_kinds(pattern, found.sizes, options)
    return ConvertedArguments(pattern, used_sizes(pattern, found.sizes), (*found.caveats, *caveats))


def _pattern(values: dict[str, Any]) -> Pattern:
    text, old = values["hybrid_layer_pattern"], values["hybrid_override_pattern"]
    if text is not None and old is not None:
        raise WorkbenchError("--hybrid-layer-pattern and --hybrid-override-pattern are one flag, new and old: give one")
    text = old if text is None else text
    # MTP as it was once said: the layers of a depth, and how many depths.
    depth, depths = values.pop("mtp_hybrid_override_pattern"), values["mtp_num_layers"] or 0
    if depth is not None and depths > 0 and "/" not in text:
        if depths > 1000:
            raise WorkbenchError(f"--mtp-num-layers {depths} is too many to write out")
        text += f"/{depth}" * depths
    return Pattern(text)


def _complete(pattern: Pattern, values: dict[str, Any]) -> None:
    """Fill in what Megatron-LM derives (megatron/training/arguments.py, `validate_args`), in place."""
    found, hidden, heads = symbols_in(pattern), values["hidden_size"], values["num_attention_heads"]
    if hidden is None:
        raise WorkbenchError("--hidden-size is missing")
    if hidden < 1:
        raise WorkbenchError(f"--hidden-size must be at least 1, not {hidden}")
    if heads is not None and heads < 1:
        raise WorkbenchError(f"--num-attention-heads must be at least 1, not {heads}")
    if values["kv_channels"] is None and heads:
        if found & _ATTENTION and hidden % heads:
            raise WorkbenchError(
                f"--hidden-size {hidden} is not a multiple of --num-attention-heads {heads}: --kv-channels is missing"
            )
        values["kv_channels"] = hidden // heads
    if values["ffn_hidden_size"] is None:
        # Two thirds, down to a multiple of 64, so that the third projection of a gated MLP adds no parameters.
        values["ffn_hidden_size"] = int((4 * hidden * 2 / 3) / 64) * 64 if values["swiglu"] else 4 * hidden
    if not values["group_query_attention"]:
        values["num_query_groups"] = None
    values["num_moe_experts"] = values["num_experts"]
    if found & _LATENT:
        values["multi_latent_attention"] = True
    if "D" in found:
        values["experimental_attention_variant"] = "dsa"
    if values["use_rotary_position_embeddings"]:
        values["position_embedding_type"] = "rope"
    values["rope_type"] = values["rope_type"] or ("yarn" if values["multi_latent_attention"] else "rope")


def _activation(values: dict[str, Any]) -> str:
    flags = [name for name in ("swiglu", "squared_relu", "quick_geglu") if values[name]]
    if len(flags) > 1:
        raise WorkbenchError(f"{' and '.join(map(flag_of, flags))} exclude each other")
    if flags == ["quick_geglu"]:
        raise WorkbenchError("--quick-geglu is a gated sigmoid approximation of GELU, which the sizes do not know")
    return flags[0] if flags else "gelu"


def _sequence_length(values: dict[str, Any]) -> int:
    length = values["max_position_embeddings"] or values["seq_length"]
    if length is None:
        raise WorkbenchError("--max-position-embeddings is missing, and so is --seq-length")
    return int(length)


def _check_kinds(pattern: Pattern, sizes: ModelSizes, options: Options) -> None:
    """Name the flags of a layer kind's sizes that are missing, or that fit no layer."""
    fields = {size: field for table in (WHOLE, MAMBA, GDN, LATENT, INDEXER, EXPERTS) for size, field in table.items()}
    for symbol in sorted(symbols_in(pattern)):
        absent = [fields.get(name, name) for name in NEEDS[symbol] if getattr(sizes, name) is None]
        if "num_moe_experts" in absent:
            absent = ["num_moe_experts"]
        if not absent:
            continue
        kind, flags = f"the pattern has {symbol!r} ({symbol_of(symbol).name})", ", ".join(map(flag_of, absent))
        if symbol in "MG":
            said = " ".join(f"{flag_of(field)} {options.values[field]}" for field in absent)
            raise WorkbenchError(f"{kind}, and no such layer has {said} with --hidden-size {sizes.hidden_size}")
        raise WorkbenchError(f"{kind}, and these flags are missing: {flags}")


# --------------------------------------------------------------------------------------------- writing


def to_arguments(pattern: Pattern | str, sizes: ModelSizes) -> tuple[str, ...]:
    """The flags of a model, one word each, for an argument list; quoting for a shell is the caller's, or `as_script`'s.

    Megatron-LM has no brackets: the pattern is written unfused, and only that is lost. Flags about running are not
    there, nor precision. Raises `WorkbenchError` for what no flag can say: activations other than SwiGLU, squared ReLU
    and GELU, stretched or multi-modal rotary embeddings, and MTP with learned positions, which Megatron-LM refuses.
    """
    return tuple(word for row in _rows(Pattern(pattern), sizes) for word in row)


def as_script(pattern: Pattern | str, sizes: ModelSizes) -> str:
    r"""The same for a shell script: one flag a line, quoted, every line but the last ending in a backslash."""
    return " \\\n".join(shlex.join(row) for row in _rows(Pattern(pattern), sizes)) + "\n"


def _rows(pattern: Pattern, sizes: ModelSizes) -> list[list[str]]:
    """Each flag with its value."""
    check_needs(pattern, sizes)
    found, sizes = symbols_in(pattern), used_sizes(pattern, sizes)
    plain = str(pattern.unfused())
    # A value that starts with a dash would be read as a flag.
    rows = [[f"--hybrid-layer-pattern={plain}"] if plain.startswith("-") else ["--hybrid-layer-pattern", plain]]
    if pattern.mtp:
        rows += _flag("mtp_num_layers", pattern.mtp.depths)
        rows += _flag("mtp_use_repeated_layer", sizes.mtp_use_repeated_layer)
    rows += _flag("hidden_size", sizes.hidden_size) + _norms(sizes) + _positions(pattern, sizes)
    rows += _attention(found, sizes) + (_activations(sizes) if found & {"-", "E"} else [])
    rows += _flag("ffn_hidden_size", sizes.ffn_hidden_size) if "-" in found else []
    for symbols, table in (("M", MAMBA), ("G", GDN), ("+D", LATENT), ("D", INDEXER), ("E", EXPERTS)):
        if found & set(symbols):
            rows += [row for size, field in table.items() for row in _flag(field, getattr(sizes, size))]
    return rows + (_router(sizes) if "E" in found else [])


def _flag(field: str, value: Any) -> list[list[str]]:
    """A row; none for what is not there or switched off."""
    if value is None or value is False:
        return []
    return [[flag_of(field)] if value is True else [flag_of(field), str(value)]]


def _norms(sizes: ModelSizes) -> list[list[str]]:
    rows = _flag("normalization", sizes.normalization) + _flag("layernorm_epsilon", sizes.norm_epsilon)
    rows += _flag("add_bias_linear", not sizes.linear_bias) + _flag("hidden_dropout", sizes.hidden_dropout)
    return rows + _flag("init_method_std", sizes.initializer_std)


def _positions(pattern: Pattern, sizes: ModelSizes) -> list[list[str]]:
    kinds = {"none": "none", "learned": "learned_absolute", "rope": "rope"}
    kind = kinds.get(sizes.rotary_variant)
    if kind is None:
        raise WorkbenchError(
            f"position_embedding {sizes.position_embedding!r} cannot be written: the sizes do not hold its numbers"
        )
    if kind == "learned_absolute" and pattern.mtp:
        raise WorkbenchError("position_embedding 'learned_absolute' cannot be written: Megatron-LM refuses it with MTP")
    rows = _flag("max_position_embeddings", sizes.max_sequence_length) + _flag("seq_length", sizes.max_sequence_length)
    if sizes.vocab_size is not None:
        rows += _flag("vocab_size", sizes.vocab_size) + _flag("make_vocab_size_divisible_by", sizes.vocab_multiple)
    rows += _flag("untie_embeddings_and_output_weights", not sizes.tied_embeddings)
    rows += _flag("position_embedding_type", kind)
    if kind == "rope":
        rows += _flag("rotary_base", sizes.rotary_base)
        rows += _flag("rotary_percent", sizes.rotary_percent) if sizes.rotary_percent != 1.0 else []
    return rows


def _attention(found: set[str], sizes: ModelSizes) -> list[list[str]]:
    # Megatron wants a head count in every model, also where nothing attends.
    heads = sizes.num_attention_heads if found & _ATTENTION and sizes.num_attention_heads else 1
    rows = _flag("num_attention_heads", heads)
    if not found & _ATTENTION:
        return rows
    if "*" in found:
        if sizes.num_query_groups not in (None, heads):
            rows += _flag("group_query_attention", True) + _flag("num_query_groups", sizes.num_query_groups)
        rows += _flag("kv_channels", sizes.attention_head_dim)
        rows += _flag("add_qkv_bias", sizes.qkv_bias) + _flag("attention_output_gate", sizes.attention_output_gate)
    elif sizes.hidden_size % heads:
        rows += _flag("kv_channels", sizes.attention_head_dim)
    rows += _flag("qk_layernorm", sizes.qk_layernorm) + _flag("attention_dropout", sizes.attention_dropout)
    rows += _flag("softmax_type", "learnable") if sizes.attention_sinks else []
    if found & _LATENT:
        rows += _flag("multi_latent_attention", True) + _flag("rope_type", "rope")
        rows += _flag("experimental_attention_variant", "dsa") if "D" in found else []
    return rows


def _activations(sizes: ModelSizes) -> list[list[str]]:
    if sizes.activation not in _ACTIVATION_FLAGS:
        known = ", ".join(map(repr, _ACTIVATION_FLAGS))
        raise WorkbenchError(f"activation {sizes.activation!r} cannot be written: Megatron-LM has flags for {known}")
    flag = _ACTIVATION_FLAGS[sizes.activation]
    return [[flag]] if flag else []


def _router(sizes: ModelSizes) -> list[list[str]]:
    """What `workbench.fusion.config` decides of the router, said with flags."""
    weight, bias = sizes.aux_loss_coeff, sizes.moe_router_bias
    rows = _flag("moe_router_load_balancing_type", "aux_loss" if weight or not bias else "none")
    rows += _flag("moe_aux_loss_coeff", weight) + _flag("moe_router_score_function", "sigmoid" if bias else "softmax")
    return rows + _flag("moe_router_pre_softmax", sizes.moe_topk == 1 and not bias)
