"""What the weights of one model can become: a GPT model's, another fusion's, the newer dialect's. Pure: patterns only.

The GPT rules are those of `megatron/core/dist_checkpointing/gpt_checkpoint_interop.py` (megatron-core 0.19.2), restated; the
line behind each is upstream's. `tests/contracts/test_interop.py` holds them to `gpt_compatible_layer_maps` over generated
patterns. Upstream names the first rule that a pattern breaks; here every one is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Block
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of

_FROM_GPT = "*-E"  # symbols whose weights a GPT layer has
_FRESH = "M"  # symbols that keep the weights they start with

Target = Literal["fused", "hybrid", "gpt", "grouped"]


@dataclass(frozen=True)
class GptLayers:
    """Which GPT layer a sub-layer's weights come from, by canonical index; `fresh` sub-layers have none.

    `layers` is how many layers the GPT model has. The maps are upstream's `GPTCompatLayerMaps`.
    """

    attention: Mapping[int, int]
    channel: Mapping[int, int]
    fresh: frozenset[int]
    layers: int


@dataclass(frozen=True)
class Option:
    """One thing that a checkpoint can become, or cannot: `text` is a sentence, or the first of the reasons against it.

    `pattern` is the one whose model would load it, "" where there is none.
    """

    to: Target
    possible: bool
    text: str
    pattern: str = ""
    reasons: tuple[str, ...] = ()


def gpt_layers(pattern: Pattern) -> GptLayers:
    """The i-th `*` is GPT layer i's attention, the i-th `-` or `E` its MLP; `M` starts fresh.

    `WorkbenchError` with every reason of `from_gpt_refusals`.
    """
    if refusals := from_gpt_refusals(pattern):
        raise WorkbenchError("; ".join(refusals))
    attention = [layer.index for layer in pattern.sublayers if layer.symbol == "*"]
    channel = [layer.index for layer in pattern.sublayers if layer.symbol in "-E"]
    fresh = frozenset(layer.index for layer in pattern.sublayers if layer.symbol in _FRESH)
    return GptLayers(
        {index: number for number, index in enumerate(attention)},
        {index: number for number, index in enumerate(channel)},
        fresh,
        len(attention),
    )


def from_gpt_refusals(pattern: Pattern) -> tuple[str, ...]:
    """Why no GPT checkpoint can be loaded into a model of this pattern, in upstream's order; empty where one can.

    >>> from_gpt_refusals(Pattern("M[*-]"))
    ()
    >>> from_gpt_refusals(Pattern("M-"))
    ('it has 0 self-attention (*) and 1 MLP (- or E) sub-layers: each GPT layer gives one of both, so the numbers must be equal and not 0',)
    """
    found, symbols = [], pattern.symbols
    counts = Counter(symbols)
    if pattern.mtp is not None:  # gpt_checkpoint_interop.py:116-121
        found.append(
            f"it has MTP layers (/{pattern.unfused().mtp!s}), which have no source weights in a GPT checkpoint"
        )
    if not symbols:  # :123-124
        return (*found, "its main pattern is empty")
    foreign = sorted(set(symbols) - set(_FROM_GPT + _FRESH))
    if foreign:  # :129-134
        kinds = " and ".join(f"{symbol_of(symbol).name} ({symbol})" for symbol in foreign)
        found.append(f"it has {kinds} sub-layers, whose weights cannot be translated from a GPT checkpoint")
    if counts["-"] and counts["E"]:  # :140-145
        found.append("it mixes dense (-) and MoE (E) sub-layers: a GPT checkpoint has one kind of MLP on every layer")
    channels = counts["-"] + counts["E"]
    if not (counts["-"] and counts["E"]) and (counts["*"] != channels or not channels):  # :149-154
        found.append(
            f"it has {counts['*']} self-attention (*) and {channels} MLP (- or E) sub-layers: each GPT layer gives one of both, "
            "so the numbers must be equal and not 0"
        )
    return tuple(found)


def to_gpt_refusals(pattern: Pattern) -> tuple[str, ...]:
    """Why the weights of this pattern are no GPT model's; empty where they are one's that computes the same.

    Loading a GPT checkpoint leaves `M` fresh and pairs sub-layers by their number, wherever they stand. The way back
    must lose nothing and change nothing: every sub-layer has its place, and attention and MLP take turns.

    >>> to_gpt_refusals(Pattern("[*-]*-|*-")), to_gpt_refusals(Pattern("M*-"))
    ((), ('its Mamba-2 sub-layer has no place in a GPT model',))
    """
    found = list(from_gpt_refusals(pattern))
    symbols = pattern.symbols
    if fresh := symbols.count("M"):
        what = "sub-layer has" if fresh == 1 else "sub-layers have"
        found.append(f"its {symbol_of('M').name} {what} no place in a GPT model")
    if not found:
        wrong = next((index for index, symbol in enumerate(symbols) if (symbol == "*") != (index % 2 == 0)), None)
        if wrong is not None:
            found.append(
                f"a GPT layer is self-attention and then an MLP, and sub-layer {wrong} is {symbol_of(symbols[wrong]).name}: the "
                "layers would take them in another order"
            )
    return tuple(found)


def grouped_refusals(pattern: Pattern) -> tuple[str, ...]:
    """Why the newer group dialect (Megatron-LM pull request 4942) cannot hold this pattern; empty where it can.

    Its groups are of any length, `E` last, with at most one member of each sort, so every pair of ours is one; it
    rejects groups in MTP patterns.
    """
    if pattern.mtp is not None and any(block.fused for block in pattern.mtp.blocks):
        return (f"it has a group in its MTP pattern (/{pattern.mtp}), which the newer dialect rejects",)
    return ()


def fusions(pattern: Pattern) -> int:
    """How many patterns of the same sub-layers, stages and MTP there are that differ in brackets only.

    Legal pairs never overlap, for no symbol is a sequence and a channel mixer, so each is fused or not by itself.

    >>> fusions(Pattern("M-M*-ME"))
    8
    """
    fused = pattern.fused()
    blocks: tuple[Block, ...] = (*fused.blocks, *(fused.mtp.blocks if fused.mtp else ()))
    return int(2 ** sum(block.fused for block in blocks))


def options(pattern: Pattern, *, gpt: bool = False) -> tuple[Option, ...]:
    """What a checkpoint of this pattern can become; `gpt` for one that a GPT model wrote, whose layers are `[*-]` or `[*E]`."""
    return (_fused(pattern), *((_hybrid(pattern),) if gpt else (_gpt(pattern),)), _grouped(pattern))


# ------------------------------------------------------------------------------------------------------


def _fused(pattern: Pattern) -> Option:
    many, fused = fusions(pattern), pattern.fused()
    if many == 1:
        return Option("fused", False, "no two neighbours can share a block: there is nothing to fuse", str(fused))
    return Option(
        "fused",
        True,
        f"{many if many <= 2**20 else 'any'} fusions of the same sub-layers load it, and so does any placing of |",
        str(fused),
    )


def _hybrid(pattern: Pattern) -> Option:
    """What takes a GPT model's weights: the same numbers of `*` and MLPs, and any number of `M` beside them."""
    if refusals := from_gpt_refusals(Pattern(pattern.main)):
        return Option(
            "hybrid",
            False,
            f"megatron does not translate it: {refusals[0]}",
            reasons=(*refusals, "workbench convert --to canonical gives it a hybrid model's names all the same"),
        )
    symbols = pattern.symbols
    number, kind = symbols.count("*"), "E" if "E" in symbols else "-"
    return Option(
        "hybrid",
        True,
        f"any pattern of {number} *, {number} {kind}, and as many M as you like, which start fresh, without MTP; with * and "
        f"{kind} in turn, and no M, it computes the same",
        str(pattern.fused()),
    )


def _gpt(pattern: Pattern) -> Option:
    refusals = to_gpt_refusals(pattern)
    if not refusals:
        number = sum(layer.symbol == "*" for layer in pattern.sublayers)
        return Option("gpt", True, f"a GPT model of {number} layers computes the same", str(pattern.fused()))
    return Option("gpt", False, f"no GPT model's: {refusals[0]}", reasons=refusals)


def _grouped(pattern: Pattern) -> Option:
    fused = pattern.fused()
    if fused.mtp is not None:
        # Groups stand in the main pattern only there.
        depth = str(pattern.unfused().mtp)
        fused = Pattern(fused.main + f"/{depth}" * fused.mtp.depths)
    blocks = len(fused.blocks)
    return Option(
        "grouped",
        True,
        f"the newer group dialect stores one layers.<i> a bracket group and final_layernorm: {blocks} for this pattern, and "
        "another checkpoint for other brackets",
        str(fused),
    )
