"""Exercises that check themselves: each function reads an answer and says whether it is right, and if not, why not.

An answer of None (or ..., or an empty text) is not answered yet, which is no mistake. What is said of a wrong answer is
about that answer; it never holds the right one. Used by `notebooks/03_teaching_fusion.ipynb`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Block
from workbench.pattern.diagnostics import render
from workbench.pattern.model import Pattern
from workbench.pattern.sketch import Sketch
from workbench.pattern.symbols import CHANNEL_MIXER, SEQUENCE_MIXER
from workbench.render import scene
from workbench.views.display import Shown
from workbench.views.numbers import counted
from workbench.views.pattern import strip


@dataclass(frozen=True)
class Marked:
    """What an answer got: `right` is None for one that was not given. Shows itself; `picture` is the answer's own."""

    right: bool | None
    why: str
    picture: tuple[scene.Part, ...] = ()

    def shown(self) -> Shown:
        """As the value of a notebook cell."""
        outcome, word = _WORDS[self.right]
        return Shown((scene.Banner(scene.Status(outcome, word), self.why), *self.picture))

    def __str__(self) -> str:
        return str(self.shown())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.shown()._repr_mimebundle_(include, exclude)


_WORDS: dict[bool | None, tuple[scene.Outcome, str]] = {
    True: ("pass", "right"),
    False: ("fail", "not right"),
    None: ("not-run", "not answered yet"),
}


def pattern_with(
    answer: str | Pattern | None,
    *,
    sublayers: int | None = None,
    blocks: int | None = None,
    stages: int | None = None,
    like: str | Pattern | None = None,
    fused: Sequence[tuple[int, int]] | None = None,
    released: bool = False,
) -> Marked:
    """A pattern is asked for: with so many sub-layers, blocks, stages; with the sub-layers of `like`, in its order; with
    these pairs of sub-layers fused and no others; one that every released Megatron Core reads.

    >>> print(pattern_with(None, blocks=3))
    – not answered yet: Put a pattern in place of None.
    >>> pattern_with("M[*-]", blocks=3).why
    'This has 2 blocks, and 3 are asked for. A pair in brackets is one block.'
    """
    if _is_missing(answer):
        return Marked(None, "Put a pattern in place of None.")
    if not isinstance(answer, str | Pattern):
        return Marked(False, f"A pattern is a text in quotes, such as 'M', and this is {answer!r}.")
    sketch = Sketch(str(answer))
    if not sketch.sound:
        told = render(sketch.text, sketch.diagnostics)
        return Marked(False, "This is not a pattern; here is what is wrong with it.", (scene.Code(told),))
    given = Pattern(answer)
    wishes = (
        _symbols(given, None if like is None else Pattern(like)),
        _sublayers(given, sublayers),
        _stages(given, stages),
        _fused(given, fused),
        _released(given, released),
        _blocks(given, blocks),
    )
    for wish in wishes:
        for why in wish:
            return Marked(False, why, _drawn(given))
    return Marked(True, f"{_counts(given)}.", _drawn(given))


def stored_layer(answer: int | None, pattern: str | Pattern, *, block: int, half: str) -> Marked:
    """A number is asked for: under which `decoder.layers.<i>` a checkpoint holds one half of a block of the main pattern.

    `half` is "sequence mixer" or "channel mixer". `WorkbenchError` where the block has no such half.
    """
    given = Pattern(pattern)
    chosen = _block(given, block)
    sought = [layer for layer in chosen.layers if layer.role == half]
    if not sought:
        raise WorkbenchError(f"block {block} of {given} has no {half}; say {SEQUENCE_MIXER!r} or {CHANNEL_MIXER!r}")
    number = _number(answer)
    if isinstance(number, Marked):
        return number
    truth, layers = sought[0].index, given.sublayers
    if number == truth:
        return Marked(True, f"It is layers.{truth}, the {sought[0].name} of {chosen}, whatever is fused around it.")
    if number == block:
        why = f"{block} is the number of the block in the built model; a checkpoint counts symbols, as if there were no brackets."
    elif not 0 <= number < len(layers):
        why = f"There are only {counted(len(layers), 'sub-layer')}, numbered from 0."
    else:
        found = layers[number]
        why = f"There, layers.{found.index}, is the {found.name} of block {found.block}; count symbols, from 0, and no brackets."
    return Marked(False, why)


def kept_inputs(answer: int | None, pattern: str | Pattern) -> Marked:
    """A number is asked for: how many inputs of blocks full recompute keeps for the main pattern, one layer a checkpoint."""
    number = _number(answer)
    if isinstance(number, Marked):
        return number
    given = Pattern(pattern)
    truth, counts = len(given.blocks), given.counts
    if number == truth:
        return Marked(True, f"One for each block, and {given} has {truth}.")
    if number == counts["sublayers"]:
        why = "That is one for each sub-layer, as if nothing were fused; a fused pair is recomputed as one."
    elif number == counts["fused"]:
        why = "Those are the fused pairs alone; a sub-layer on its own keeps its input too."
    elif number == counts["stages"]:
        why = "That is one for each stage; every module that is recomputed needs its own input."
    else:
        why = "Count what is built: a symbol on its own is one module, and so is a pair in brackets."
    return Marked(False, why)


# ------------------------------------------------------------------------------------------------------


def _is_missing(answer: Any) -> bool:
    return answer is None or answer is ... or (isinstance(answer, str) and not answer.strip())


def _number(answer: Any) -> int | Marked:
    if _is_missing(answer):
        return Marked(None, "Put a number in place of None.")
    if isinstance(answer, bool) or not isinstance(answer, int):
        return Marked(False, f"The answer is a whole number, without quotes, and this is {answer!r}.")
    return answer


def _block(pattern: Pattern, block: int) -> Block:
    if not 0 <= block < len(pattern.blocks):
        raise WorkbenchError(
            f"there is no block {block}: {pattern} has {counted(len(pattern.blocks), 'block')}, from 0"
        )
    return pattern.blocks[block]


def _drawn(pattern: Pattern) -> tuple[scene.Part, ...]:
    return (strip(pattern),) if pattern.sublayers or pattern.mtp is not None else ()


def _counts(pattern: Pattern) -> str:
    counts = pattern.counts
    said = [counted(counts["sublayers"], "sub-layer"), counted(counts["blocks"], "block")]
    said.append(counted(counts["fused"], "fused pair"))
    if counts["stages"] > 1:
        said.append(counted(counts["stages"], "stage"))
    return ", ".join(said)


def _symbols(given: Pattern, like: Pattern | None) -> Iterator[str]:
    if like is None:
        return
    have, want = ([layer.symbol for layer in pattern.sublayers] for pattern in (given, like))
    if len(have) != len(want):
        yield f"This has {counted(len(have), 'sub-layer')} and {like} has {len(want)}; only brackets and '|' may change."
    for index, (one, other) in enumerate(zip(have, want, strict=False)):
        if one != other:
            yield f"Sub-layer {index} is {one!r} here and {other!r} in {like}; only brackets and '|' may change."
    if _mtp(given) != _mtp(like):
        yield f"The part behind '/' is not that of {like}."


def _mtp(pattern: Pattern) -> tuple[list[str], int] | None:
    """What a checkpoint holds of MTP: its symbols, brackets apart, and how many depths."""
    mtp = pattern.mtp
    return None if mtp is None else ([layer.symbol for layer in mtp.sublayers], mtp.depths)


def _sublayers(given: Pattern, wanted: int | None) -> Iterator[str]:
    have = given.counts["sublayers"]
    if wanted is not None and have != wanted:
        yield f"This has {counted(have, 'sub-layer')}, and {wanted} are asked for: one a symbol, in brackets or not."


def _stages(given: Pattern, wanted: int | None) -> Iterator[str]:
    have = given.counts["stages"]
    if wanted is not None and have != wanted:
        yield f"This has {counted(have, 'stage')}, and {wanted} are asked for; every '|' begins one more."


def _fused(given: Pattern, wanted: Sequence[tuple[int, int]] | None) -> Iterator[str]:
    if wanted is None:
        return
    have = [block.sublayers for block in given.blocks if block.fused]
    for pair in have:
        if pair not in wanted:
            yield f"Sub-layers {pair[0]} and {pair[1]} are fused here, and are to stand alone. Sub-layers count from 0."
    for first, second in wanted:
        if (first, second) not in have:
            yield f"Sub-layers {first} and {second} are not in one block yet. Sub-layers count from 0."


def _released(given: Pattern, wanted: bool) -> Iterator[str]:
    if wanted and "[" in str(given):
        yield "A released Megatron Core stops at the first character that it does not know, and here it meets one."


def _blocks(given: Pattern, wanted: int | None) -> Iterator[str]:
    have = given.counts["blocks"]
    if wanted is not None and have != wanted:
        yield f"This has {counted(have, 'block')}, and {wanted} are asked for. A pair in brackets is one block."
