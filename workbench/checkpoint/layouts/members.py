"""What one layer of a checkpoint holds, whatever the layout: its sub-layers, and each tensor's name in its own. Pure.

A layer may be one sub-layer, a fused pair, a GPT layer, or a group of the newer dialect. In all of them a tensor's first word
says which of at most three members it belongs to, because those of one member never meet another's:

    mixer.  norm.                          a Mamba under its own names
    self_attention.  input_layernorm.      any attention or gated delta net; the Mamba of a fused block
    mlp.  pre_mlp_layernorm.               MLP or experts
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from workbench.arch.names import canonical_to_local, local_to_canonical
from workbench.checkpoint.kinds import symbols_held

Slot = Literal["mixer", "attention", "channel"]
_SLOTS: dict[str, Slot] = {
    "mixer": "mixer",
    "norm": "mixer",
    "self_attention": "attention",
    "input_layernorm": "attention",
    "mlp": "channel",
    "pre_mlp_layernorm": "channel",
}
_ORDER: tuple[Slot, ...] = ("mixer", "attention", "channel")

# Stored pieces of one weight, in the order that they have in it: (symbol, stored name) → (canonical name, pieces).
# megatron/core/ssm/mamba_mixer.py and gated_delta_net/common.py, `sharded_state_dict`.
MAMBA_PROJECTION = ("z", "x", "B", "C", "dt")
MAMBA_CONVOLUTION = ("x", "B", "C")
DELTA_PROJECTION = ("query", "key", "value", "z", "beta", "alpha")
DELTA_CONVOLUTION = ("query", "key", "value")
PIECES: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("M", "mixer.in_proj.weight"): ("mixer.in_proj.weight", MAMBA_PROJECTION),
    ("M", "mixer.conv1d.weight"): ("mixer.conv1d_weight", MAMBA_CONVOLUTION),
    ("M", "mixer.conv1d.bias"): ("mixer.conv1d_bias", MAMBA_CONVOLUTION),
    ("G", "self_attention.in_proj.weight"): ("self_attention.in_proj.weight", DELTA_PROJECTION),
    ("G", "self_attention.conv1d.weight"): ("self_attention.conv1d.weight", DELTA_CONVOLUTION),
    ("G", "self_attention.conv1d.bias"): ("self_attention.conv1d.bias", DELTA_CONVOLUTION),
}
# The halves of a gated first linear, each under its own key, as `singleton_local_shards` has them: the gate's rows come first
# (mlp.py, `apply_swiglu_sharded_factory`).
_HALF = re.compile(r"(mlp\.(?:shared_experts\.|experts\.experts\.[0-9]{1,9}\.)?linear_fc1\.(?:weight|bias))_([wv])")
_HALVES = "wv"
_EXPERTS = re.compile(r"mlp\.experts\.experts\.(?:([0-9]{1,9})\.)?(linear_fc[12])\.(weight|bias)")

# Stored for what Transformer Engine joins (multi_latent_attention.py, `FusedMLASelfAttention.sharded_state_dict`).
JOINT_DOWN = "self_attention.linear_qkv_down_proj.weight"
DOWN = ("self_attention.linear_q_down_proj.weight", "self_attention.linear_kv_down_proj.weight")
Q_UP = "self_attention.linear_q_up_proj.weight"
JOINT_NORM = "self_attention.linear_qkv_down_proj.layer_norm_"
LATENT_NORM = "input_layernorm."

# A GPT model of the local spec gives the norm before experts the dense MLP's stored name (gpt_layer_specs.py:451).
DENSE_NORM, EXPERT_NORM = "mlp.linear_fc1.layer_norm_", "pre_mlp_layernorm."


class Member(NamedTuple):
    """A sub-layer of a layer; `symbol` is "" where its names are of no known kind."""

    symbol: str
    slot: Slot


class Target(NamedTuple):
    """Where a written name of a layer belongs.

    `position` counts the layer's members; `rest` is the canonical name within the sub-layer; `piece` is the number of
    the piece of it that this is, None for a whole one; `experts` is True where the first axis counts experts, whose
    numbers end the canonical names. `local` is True or False where the name is of that backend only.
    """

    position: int
    rest: str
    piece: int | None = None
    pieces: int = 0
    experts: bool = False
    local: bool | None = None

    @property
    def stored(self) -> bool:
        """True for a name that only a distributed checkpoint has."""
        return self.experts or self.piece is not None


def slot_of(rest: str) -> Slot | None:
    """The member that a name within a layer belongs to, by its first word; None for one that no layer here has."""
    return _SLOTS.get(rest.partition(".")[0])


@lru_cache(maxsize=128)
def members_of(rests: frozenset[str]) -> tuple[Member, ...]:
    """The sub-layers that these names of one layer make up, in the order that they run in.

    >>> members_of(frozenset({"self_attention.A_log", "self_attention.D", "mlp.linear_fc1.weight"}))
    (Member(symbol='M', slot='attention'), Member(symbol='-', slot='channel'))
    """
    slots: dict[Slot, list[str]] = {}
    for rest in rests:
        slot = slot_of(rest)
        if slot is not None:
            slots.setdefault(slot, []).append(rest)
    return tuple(Member(symbols_held(slots[slot]), slot) for slot in _ORDER if slot in slots)


@lru_cache(maxsize=65536)
def target_of(members: tuple[Member, ...], rest: str) -> Target | None:
    """Where a written name belongs in a layer of these members; None where none of them has such names.

    >>> target_of((Member("M", "attention"), Member("-", "channel")), "input_layernorm.weight")
    Target(position=0, rest='mixer.in_proj.layer_norm_weight', piece=None, pieces=0, experts=False, local=True)
    """
    slot = slot_of(rest)
    position = next((place for place, member in enumerate(members) if member.slot == slot), None)
    if position is None:
        return None
    symbol = members[position].symbol
    alone = _alone(members[position], rest)
    if symbol in ("M", "G") and (found := _piece(symbol, alone)):
        name, piece, pieces = found
        return Target(position, name, piece, pieces)
    if symbol in ("-", "E") and (half := _HALF.fullmatch(alone)):
        whole = target_of(members, half[1])
        assert whole is not None, "the whole weight is of the same member"
        return Target(position, whole.rest, _HALVES.index(half[2]), len(_HALVES))
    if match := _EXPERTS.fullmatch(alone):
        number, linear, kind = match.groups()
        return Target(position, f"mlp.experts.{linear}.{kind}{number or ''}", experts=number is None)
    canonical, local = _canonical(symbol, alone)
    return Target(position, canonical, local=local)


# ------------------------------------------------------------------------------------------------------


def _alone(member: Member, rest: str) -> str:
    """The name that the member has standing alone: a fused block holds its Mamba in the attention slot."""
    if member != ("M", "attention"):
        return rest
    head, _, tail = rest.partition(".")
    return f"{'mixer' if head == 'self_attention' else 'norm'}.{tail}"


def _piece(symbol: str, alone: str) -> tuple[str, int, int] | None:
    stored, _, piece = alone.rpartition(".")
    name, pieces = PIECES.get((symbol, stored), ("", ()))
    return (name, pieces.index(piece), len(pieces)) if piece in pieces else None


def _canonical(symbol: str, alone: str) -> tuple[str, bool | None]:
    """The canonical name, and whether only local modules write it so (True), only Transformer Engine's (False), or both."""
    if not symbol:
        return alone, None
    if symbol == "E" and alone.startswith(DENSE_NORM):
        return EXPERT_NORM + alone.removeprefix(DENSE_NORM), True
    if symbol in ("+", "D") and alone.startswith(JOINT_NORM):
        return LATENT_NORM + alone.removeprefix(JOINT_NORM), False
    if symbol == "M" and alone in (
        "mixer.conv1d.weight",
        "mixer.conv1d.bias",
    ):  # older releases' convolution is a module
        return alone.replace("conv1d.", "conv1d_"), None
    canonical = local_to_canonical(symbol, alone)
    if canonical != alone:
        return canonical, True
    return alone, False if alone == JOINT_DOWN or canonical_to_local(symbol, alone) != alone else None


def all_rests(entries: Iterable[tuple[str, str, str]]) -> frozenset[str]:
    """The names within a layer of its entries (written, state, rest)."""
    return frozenset(entry[2] for entry in entries)
