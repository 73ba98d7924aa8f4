"""The symbol table: one row a layer kind, and nothing about a kind stands anywhere else.

A new upstream symbol is one more row. Source: `Symbols` in megatron-core 0.19.2,
`megatron/core/models/hybrid/hybrid_layer_allocation.py`, and `hybrid_block.py` for the spec slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.errors import WorkbenchError

Role = Literal["sequence mixer", "channel mixer"]

SEQUENCE_MIXER: Role = "sequence mixer"
CHANNEL_MIXER: Role = "channel mixer"


@dataclass(frozen=True)
class Symbol:
    """One layer kind.

    `kind` is its identifier in JSON and in CSS classes, `name` what people call it, `short` the label inside a drawn
    box. `family` says what may stand beside what: `attention` and `latent` (MLA variants) never meet in one pattern.
    `norm` and `module` are the prefixes of its weights in a canonical checkpoint's `layers.<i>.`, `spec_slot` is the
    field of upstream's `HybridStackSubmodules` that builds it. `light` and `dark` are the colours on either background.
    `meant` holds the characters that people type when they mean this symbol.
    """

    symbol: str
    kind: str
    name: str
    short: str
    role: Role
    family: str
    norm: str
    module: str
    spec_slot: str
    light: str
    dark: str
    meant: str

    def __str__(self) -> str:
        return f"{self.symbol!r} ({self.name})"


_ATTENTION = ("input_layernorm.", "self_attention.")
_CHANNEL = ("pre_mlp_layernorm.", "mlp.")

# fmt: off
SYMBOLS: dict[str, Symbol] = {row.symbol: row for row in (
    Symbol("M", "mamba",     "Mamba-2",                    "Mamba",     SEQUENCE_MIXER, "recurrent",
           "norm.", "mixer.", "mamba_layer",  "#0072B2", "#0072B2", "m"),
    Symbol("G", "gdn",       "gated delta net",            "delta net", SEQUENCE_MIXER, "recurrent",
           *_ATTENTION,     "gdn_layer",       "#1C7AB5", "#3A9BD9", "g"),
    Symbol("*", "attention", "self-attention",             "attention", SEQUENCE_MIXER, "attention",
           *_ATTENTION,     "attention_layer", "#C84E00", "#C84E00", "AaXx✱∗·"),
    Symbol("D", "dsa",       "DeepSeek sparse attention",  "DSA",       SEQUENCE_MIXER, "latent",
           *_ATTENTION,     "dsa_layer",       "#A8528A", "#A8528A", "d"),
    Symbol("+", "mla",       "multi-latent attention",     "MLA",       SEQUENCE_MIXER, "latent",
           *_ATTENTION,     "mla_layer",       "#8A5F00", "#B07900", "Ll"),
    Symbol("-", "mlp",       "MLP",                        "MLP",       CHANNEL_MIXER,  "channel",
           *_CHANNEL,       "mlp_layer",       "#5B6675", "#9AA7B8", "Ff_–—−‐"),
    Symbol("E", "moe",       "mixture of experts",         "MoE",       CHANNEL_MIXER,  "channel",
           *_CHANNEL,       "moe_layer",       "#00795B", "#34C29B", "e"),
)}
# fmt: on

SEQUENCE_MIXERS = "".join(symbol for symbol, row in SYMBOLS.items() if row.role == SEQUENCE_MIXER)
CHANNEL_MIXERS = "".join(symbol for symbol, row in SYMBOLS.items() if row.role == CHANNEL_MIXER)

# Symbols of branches that are not released; naming them makes for a better message than "unknown".
UNRELEASED = {
    "K": "Kimi delta attention",
    "C": "compressed attention of DeepSeek-V4",
    "H": "hash attention of DeepSeek-V4",
    "W": "windowed attention of DeepSeek-V4",
}


def symbol_of(symbol: str) -> Symbol:
    """The row of a symbol; `WorkbenchError` lists the ones there are.

    >>> symbol_of("M").module
    'mixer.'
    """
    try:
        return SYMBOLS[symbol]
    except KeyError:
        raise WorkbenchError(f"unknown layer symbol {symbol!r}; the symbols are {' '.join(SYMBOLS)}") from None


def meant_by(character: str) -> Symbol | None:
    """The symbol that somebody who typed `character` most likely meant, or None.

    >>> meant_by("m").symbol, meant_by("A").symbol, meant_by("Q")
    ('M', '*', None)
    """
    return next((row for row in SYMBOLS.values() if character in row.meant), None)


def can_fuse(first: str, second: str) -> bool:
    """True when `[first second]` is a legal group: a sequence mixer, then a channel mixer.

    >>> can_fuse("*", "-"), can_fuse("-", "*"), can_fuse("M", "M")
    (True, False, False)
    """
    return first in SEQUENCE_MIXERS and second in CHANNEL_MIXERS


def pair_up(symbols: str) -> str:
    """A run of symbols with every adjacent legal pair in brackets, left to right.

    >>> pair_up("M-M*-E")
    '[M-]M[*-]E'
    """
    parts, place = [], 0
    while place < len(symbols):
        two = symbols[place : place + 2]
        fuses = len(two) == 2 and can_fuse(two[0], two[1])
        parts.append(f"[{two}]" if fuses else two[0])
        place += 2 if fuses else 1
    return "".join(parts)
