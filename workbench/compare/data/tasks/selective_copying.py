"""Selective copying: a few tokens scattered in noise, to be repeated in order once the noise ends.

Asked: after `. . b . a . . c |`, say `b a c`. A layer must tell what to keep from what to let pass, by content: one whose
state evolves the same at every step (S4, a convolution) cannot, one with input-dependent steps (`M`, `G`) or attention can.

Source: Gu and Dao 2023, "Mamba" (arXiv 2312.00752), section 4.1.1, there with sequences of 4096 tokens. Here each answer is
shown before the next is asked for, as in running text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workbench.compare.data.tasks.guesses import any_of, from_bags
from workbench.compare.data.tasks.task import Example, Mask, Tokens
from workbench.compare.training.record import Baseline
from workbench.errors import WorkbenchError, check_whole

_NOISE, _GO = 0, 1
_FIRST = 2


@dataclass(frozen=True)
class SelectiveCopying:
    """`copied` tokens of `vocabulary` kinds in noise, a mark, and the tokens again; `length` tokens in all.

    Token 0 is the noise, 1 the mark, the kinds are 2 and above. Raises `WorkbenchError` where the length holds no such sequence.
    """

    copied: int = 8
    vocabulary: int = 16
    length: int = 64

    def __post_init__(self) -> None:
        check_whole("copied", self.copied)
        check_whole("vocabulary", self.vocabulary, 2)
        check_whole("length", self.length)
        if self.length < 2 * self.copied:
            raise WorkbenchError(
                f"selective-copying: {self.copied} tokens, the mark and their copies take {2 * self.copied} tokens, more than the "
                f"sequence of {self.length}"
            )

    @property
    def name(self) -> str:
        """As it is opened."""
        return "selective-copying"

    @property
    def sequence(self) -> int:
        """The length."""
        return self.length

    @property
    def vocab_size(self) -> int:
        """The kinds, the noise and the mark."""
        return self.vocabulary + _FIRST

    def draw(self, generator: np.random.Generator) -> Example:
        """Tokens and their places before the mark are all alike."""
        context = self.sequence - self.copied
        kept = _FIRST + generator.integers(self.vocabulary, size=self.copied)
        tokens = np.full(self.sequence + 1, _NOISE, np.int64)
        tokens[np.sort(generator.permutation(context)[: self.copied])] = kept
        tokens[context] = _GO
        tokens[context + 1 :] = kept
        counted = np.zeros(self.sequence, np.bool_)
        counted[context:] = True
        return Example(tokens, counted)

    def guesses(self, tokens: Tokens, counted: Mask) -> tuple[Baseline, ...]:
        """Any kind; one of the kept tokens that was not copied yet, whatever their order."""
        return (
            any_of(self.vocabulary, "kinds of token"),
            from_bags(
                "tokens left",
                self._asked(tokens, counted),
                "a token of this sequence that was not copied yet, without knowing the order",
            ),
        )

    def _asked(self, tokens: Tokens, counted: Mask) -> Iterator[tuple[Counter[int], int]]:
        for row, answers in zip(tokens, counted, strict=True):
            bag = Counter(row[1:][answers].tolist())
            for answer in row[1:][answers].tolist():
                yield bag, answer
                bag = bag - Counter([answer])
