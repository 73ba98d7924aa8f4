"""Shapes of a distributed checkpoint's keys as those of the whole weights they are parts of. Pure: names and shapes.

The other direction of `workbench.arch.stored`, for names alone; `layouts` does it to tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

type Shape = tuple[int, ...]

# Names within a layer, by what they end with: projections and convolutions that are stored piece by piece.
_PIECES = ("mixer.in_proj.weight", "mixer.conv1d.weight", "mixer.conv1d.bias")
_PIECE = re.compile(
    r"(.*\.(?:mixer\.in_proj\.weight|mixer\.conv1d\.(?:weight|bias)|self_attention\.(?:in_proj|conv1d)\.weight))\.(\w+)"
)
_EXPERTS = re.compile(r"(.*\.mlp\.experts\.)experts\.(linear_fc[12]\.(?:weight|bias))")
_MOST_EXPERTS = 2_000_000  # of all tensors together; a stranger's file may say any number


def whole_shapes(stored: Mapping[str, Shape]) -> dict[str, Shape]:
    """Canonical name → shape: pieces joined along their first axis, the axis of experts taken apart.

    >>> whole_shapes({"decoder.layers.0.mixer.conv1d.bias.x": (8,), "decoder.layers.0.mixer.conv1d.bias.B": (2,)})
    {'decoder.layers.0.mixer.conv1d_bias': (10,)}
    """
    found: dict[str, Shape] = {}
    for name, shape in stored.items():
        experts = shape[0] if shape and ".experts.experts." in name else 0
        if 0 < experts <= _MOST_EXPERTS - len(found) and (match := _EXPERTS.fullmatch(name)):
            for expert in range(shape[0]):
                found[f"{match[1]}{match[2]}{expert}"] = shape[1:]
        elif ("in_proj" in name or "conv1d" in name) and shape and (match := _PIECE.fullmatch(name)):
            whole = match[1].replace(".mixer.conv1d.", ".mixer.conv1d_")
            held = found.get(whole)
            found[whole] = shape if held is None else (held[0] + shape[0], *held[1:])
        else:
            found[name] = shape
    return found
