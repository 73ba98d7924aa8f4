"""Where a canonical name lives, in words: `decoder.layers.3.mixer.A_log` is "sub-layer 3, Mamba-2". Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of

_LAYERS = "decoder.layers."
_MOST_DIGITS = 9  # of a layer's number
MOST_LAYERS = 2**16  # no model has more; a file that says so is broken or malicious

_MTP_LAYER = re.compile(r"mtp\.layers\.([0-9]{1,9})\.(?:mtp_model_layer|transformer_layer)\.layers\.([0-9]{1,9})\.(.*)")
_MTP = re.compile(r"mtp\.layers\.([0-9]{1,9})\.(.*)")
_REST = (
    ("embedding.", "embedding"),
    ("decoder.final_norm.", "final norm"),
    ("output_layer.", "output layer"),
    ("rotary_pos_emb.", "rotary embedding"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """`layer` identifies the sub-layer (`decoder.layers.3.`), or is "" outside of one; `rest` is the name within it.

    `index` is the canonical index (within its MTP depth, when `depth` is not None).
    """

    layer: str
    rest: str
    index: int | None = None
    depth: int | None = None


def locate(name: str) -> Place:
    """Take a canonical name apart.

    >>> locate("decoder.layers.3.mixer.A_log")
    Place(layer='decoder.layers.3.', rest='mixer.A_log', index=3, depth=None)
    """
    if name.startswith(_LAYERS):
        # Taken apart by hand: this is asked of every name of the largest checkpoints.
        number, dot, rest = name[len(_LAYERS) :].partition(".")
        if dot and number.isdecimal() and number.isascii() and len(number) <= _MOST_DIGITS:
            return Place(f"{_LAYERS}{number}.", rest, int(number))
        return Place("", name)
    if name.startswith("mtp.") and (match := _MTP_LAYER.fullmatch(name)):
        return Place(name.removesuffix(match[3]), match[3], int(match[2]), int(match[1]))
    return Place("", name)


def symbol_at(place: Place, pattern: Pattern) -> str | None:
    """The symbol that the pattern has at a place, or None outside of sub-layers and beyond the pattern's end."""
    layers = pattern.sublayers if place.depth is None else (pattern.mtp.sublayers if pattern.mtp else ())
    if place.index is None or place.index >= len(layers):
        return None
    return layers[place.index].symbol


def words(place: Place) -> str:
    """A sub-layer in words, without its kind: "sub-layer 3", "MTP depth 1, sub-layer 0"."""
    depth = "" if place.depth is None else f"MTP depth {place.depth + 1}, "
    return f"{depth}sub-layer {place.index}"


def describe(name: str, pattern: Pattern) -> str:
    """Where a canonical name lives in a model of this pattern.

    >>> describe("decoder.layers.1.mlp.linear_fc1.weight", Pattern("M-"))
    'sub-layer 1, MLP'
    >>> describe("embedding.word_embeddings.weight", Pattern("M-"))
    'embedding'
    """
    place = locate(name)
    if place.index is not None:
        symbol = symbol_at(place, pattern)
        return f"{words(place)}, {symbol_of(symbol).name}" if symbol else words(place)
    if match := _MTP.match(name):
        return f"MTP depth {int(match[1]) + 1}, its projection and norms"
    return next((where for prefix, where in _REST if name.startswith(prefix)), "outside the layers")
