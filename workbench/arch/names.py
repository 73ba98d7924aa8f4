"""Canonical names: what every weight is called in a checkpoint, whatever the model that holds it looks like.

The canonical layout is the one that an unfused pattern has in megatron-core 0.19.2 with the Transformer Engine spec.
Two things make a live model's names differ from it, and this module is the table of both:

* *backend*: local modules hold a norm outside the linear it feeds, and experts one by one (`LOCAL_RULES`);
* *fusion*: a block `[XY]` holds X in the attention slot of a `TransformerLayer` and Y in its MLP slot
(`sublayer_name`).

Pure: names are text. Source of the canonical names: `megatron/core/models/hybrid/hybrid_layer_specs.py` (TE spec).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.errors import WorkbenchError
from workbench.pattern.symbols import symbol_of

# What each `{…}` of a rule matches.
_PARTS = {"kind": "weight|bias", "linear": "linear_fc1|linear_fc2", "expert": r"\d+"}


@dataclass(frozen=True)
class Rule:
    """`local` ↔ `canonical` for the sub-layers of `symbol`; what `{…}` matches is carried over."""

    symbol: str
    local: str
    canonical: str

    def expression(self, side: str) -> re.Pattern[str]:
        """`self.local` or `self.canonical`, whichever is `side`, as a regular expression."""
        parts = re.split(r"\{(\w+)\}", side)
        return re.compile(
            "".join(f"(?P<{part}>{_PARTS[part]})" if i % 2 else re.escape(part) for i, part in enumerate(parts))
        )


# Local module names → Transformer Engine's. A rule ending in `_{kind}` renames `weight` and `bias` alike.
LOCAL_RULES: tuple[Rule, ...] = (
    Rule("M", "norm.{kind}", "mixer.in_proj.layer_norm_{kind}"),
    Rule("G", "input_layernorm.{kind}", "self_attention.in_proj.layer_norm_{kind}"),
    Rule("*", "input_layernorm.{kind}", "self_attention.linear_qkv.layer_norm_{kind}"),
    Rule("+", "self_attention.q_layernorm.{kind}", "self_attention.linear_q_up_proj.layer_norm_{kind}"),
    Rule("+", "self_attention.kv_layernorm.{kind}", "self_attention.linear_kv_up_proj.layer_norm_{kind}"),
    Rule("-", "pre_mlp_layernorm.{kind}", "mlp.linear_fc1.layer_norm_{kind}"),
    Rule("E", "mlp.experts.local_experts.{expert}.{linear}.{kind}", "mlp.experts.{linear}.{kind}{expert}"),
)
_TO_CANONICAL = tuple((rule, rule.expression(rule.local)) for rule in LOCAL_RULES)
_TO_LOCAL = tuple((rule, rule.expression(rule.canonical)) for rule in LOCAL_RULES)


def local_to_canonical(symbol: str, name: str) -> str:
    """The canonical name, within its sub-layer, of a stand-alone local module's tensor; TE names come back unchanged.

    >>> local_to_canonical("*", "input_layernorm.weight")
    'self_attention.linear_qkv.layer_norm_weight'
    >>> local_to_canonical("E", "mlp.experts.local_experts.3.linear_fc1.weight")
    'mlp.experts.linear_fc1.weight3'
    >>> local_to_canonical("E", "pre_mlp_layernorm.weight")
    'pre_mlp_layernorm.weight'
    """
    for rule, expression in _TO_CANONICAL:
        if symbol == rule.symbol and (match := expression.fullmatch(name)):
            return rule.canonical.format(**match.groupdict())
    return name


def canonical_to_local(symbol: str, name: str) -> str:
    """The way back: what a stand-alone local module calls a tensor of a canonical name within its sub-layer.

    >>> canonical_to_local("E", "mlp.experts.linear_fc1.weight3")
    'mlp.experts.local_experts.3.linear_fc1.weight'
    """
    for rule, expression in _TO_LOCAL:
        if symbol == rule.symbol and (match := expression.fullmatch(name)):
            return rule.local.format(**match.groupdict())
    return name


def local_prefixes(symbol: str) -> dict[str, str]:
    """The norm rules of a symbol as `{local prefix: canonical prefix}`, the form of a spec's `sharded_state_dict_keys_map`.

    Experts are not in it: megatron itself stacks them into one stored tensor an expert axis long.

    >>> local_prefixes("M")
    {'norm.': 'mixer.in_proj.layer_norm_'}
    >>> local_prefixes("D")
    {}
    """
    suffix = "{kind}"
    return {
        rule.local.removesuffix(suffix): rule.canonical.removesuffix(suffix)
        for rule in LOCAL_RULES
        if symbol == rule.symbol and "{expert}" not in rule.local
    }


def sublayer_name(symbols: str, name: str) -> tuple[int, str]:
    """Which sub-layer of a block a tensor belongs to, and its name in that sub-layer standing alone.

    `symbols` are the block's ("*", "M-"), `name` is relative to the block. Returns (0 or 1, name).

    >>> sublayer_name("M-", "self_attention.A_log")
    (0, 'mixer.A_log')
    >>> sublayer_name("M-", "input_layernorm.weight")
    (0, 'norm.weight')
    >>> sublayer_name("*E", "mlp.router.weight")
    (1, 'mlp.router.weight')
    """
    if len(symbols) == 1:
        return 0, name
    for fused, (position, alone) in fused_prefixes(symbols).items():
        if name.startswith(fused):
            return position, alone + name.removeprefix(fused)
    raise WorkbenchError(
        f"{name!r} has no place in a fused block [{symbols}]: expected one of {', '.join(fused_prefixes(symbols))}"
    )


def fused_name(symbols: str, position: int, name: str) -> str:
    """The way back from `sublayer_name`: what a block calls a tensor of its sub-layer `position` (0 or 1).

    >>> fused_name("M-", 0, "mixer.A_log"), fused_name("M-", 0, "norm.weight"), fused_name("M", 0, "norm.weight")
    ('self_attention.A_log', 'input_layernorm.weight', 'norm.weight')
    """
    if len(symbols) == 1:
        return name
    for fused, (at, alone) in fused_prefixes(symbols).items():
        if at == position and name.startswith(alone):
            return fused + name.removeprefix(alone)
    raise WorkbenchError(f"{name!r} has no place in sub-layer {position} of a fused block [{symbols}]")


def fused_prefixes(symbols: str) -> dict[str, tuple[int, str]]:
    """Prefix in a fused block → (sub-layer 0 or 1, prefix in that sub-layer standing alone).

    >>> fused_prefixes("M-")["self_attention."]
    (0, 'mixer.')
    """
    mixer, channel = (symbol_of(symbol) for symbol in symbols)
    return {
        "input_layernorm.": (0, mixer.norm),
        "self_attention.": (0, mixer.module),
        "pre_mlp_layernorm.": (1, channel.norm),
        "mlp.": (1, channel.module),
    }
