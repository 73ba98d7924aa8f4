"""Which layer kind a set of tensor names belongs to: a few names tell each kind from every other.

Pure. The names are those of one layer, relative to it, in any layout: canonical, local, or those of a fused block.
"""

from __future__ import annotations

from collections.abc import Iterable

# Read from the top: the first marker that a name starts with decides. A fused Mamba sits in `self_attention.`.
_MIXER_MARKERS: tuple[tuple[str, str], ...] = (
    ("mixer.", "M"),
    ("self_attention.core_attention.indexer.", "D"),
    ("self_attention.out_norm.", "G"),
    ("self_attention.conv1d.", "G"),
    ("self_attention.A_log", "M"),
    ("self_attention.linear_kv_down_proj.", "+"),
    ("self_attention.linear_kv_up_proj.", "+"),
    ("self_attention.linear_qkv.", "*"),
)
_CHANNEL_MARKERS: tuple[tuple[str, str], ...] = (
    ("mlp.router.", "E"),
    ("mlp.experts.", "E"),
    ("mlp.linear_fc1.", "-"),
)


def symbols_held(names: Iterable[str]) -> str:
    """The symbols of the layer kinds that these names belong to: "", "M", "-", or two of them for a fused block.

    >>> symbols_held(["mixer.A_log", "mixer.D"]), symbols_held(["self_attention.linear_qkv.weight", "mlp.router.weight"])
    ('M', '*E')
    """
    found = set(names)
    return _first(_MIXER_MARKERS, found) + _first(_CHANNEL_MARKERS, found)


def _first(markers: tuple[tuple[str, str], ...], names: set[str]) -> str:
    for prefix, symbol in markers:
        # A gated delta net has an `A_log` too; its `out_norm` and `conv1d.` stand earlier in the table.
        if any(name.startswith(prefix) for name in names):
            return symbol
    return ""
