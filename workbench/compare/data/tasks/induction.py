"""Induction: a mark is followed by a token once; whenever the mark comes again, so must that token.

Asked: after `… # k … #`, say `k`. Attention does it with two layers, one that looks a token back and one that looks the mark up;
a layer with input-dependent steps (`M`, `G`) can hold the one token that matters over any distance.

Source: Olsson et al. 2022, "In-context learning and induction heads" (arXiv 2209.11895); as a task of one special token, Gu and Dao 2023,
"Mamba" (arXiv 2312.00752), section 4.1.2, where the mark comes twice in 256 tokens (here `repeats=1`).
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

_MARK = 0


@dataclass(frozen=True)
class Induction:
    """`length` random tokens of `vocabulary` kinds; a mark among them, and `repeats` times more with the token that followed it.

    Token 0 is the mark, the kinds are 1 and above; the last repetition ends the sequence. Raises `WorkbenchError` where the
    length does not hold the marks and their tokens.
    """

    vocabulary: int = 16
    repeats: int = 4
    length: int = 64

    def __post_init__(self) -> None:
        check_whole("vocabulary", self.vocabulary, 2)
        check_whole("repeats", self.repeats)
        check_whole("length", self.length)
        if self.length < 2 * self.repeats + 1:
            raise WorkbenchError(
                f"induction: the mark and {self.repeats} repeats take {2 * self.repeats + 1} tokens, more than the sequence of "
                f"{self.length}"
            )

    @property
    def name(self) -> str:
        """As it is opened."""
        return "induction"

    @property
    def sequence(self) -> int:
        """The length."""
        return self.length

    @property
    def vocab_size(self) -> int:
        """The kinds and the mark."""
        return self.vocabulary + 1

    def draw(self, generator: np.random.Generator) -> Example:
        """The places of all marks but the last are drawn among those that are left."""
        tokens = 1 + generator.integers(self.vocabulary, size=self.sequence + 1)
        # A mark takes two places: it is drawn among as many single ones as there are before the last, then moved apart.
        slots = self.sequence - 1 - self.repeats
        earlier = np.sort(generator.permutation(slots)[: self.repeats]) + np.arange(self.repeats)
        places = np.append(earlier, self.sequence - 1)
        tokens[places] = _MARK
        tokens[places + 1] = tokens[places[0] + 1]
        counted = np.zeros(self.sequence, np.bool_)
        counted[places[1:]] = True
        return Example(tokens, counted)

    def guesses(self, tokens: Tokens, counted: Mask) -> tuple[Baseline, ...]:
        """Any kind; one of the tokens seen so far, by how often."""
        return (
            any_of(self.vocabulary, "kinds of token"),
            from_bags(
                "tokens seen",
                self._asked(tokens, counted),
                "a token of this sequence by how often it came so far, without knowing what follows the mark",
            ),
        )

    def _asked(self, tokens: Tokens, counted: Mask) -> Iterator[tuple[Counter[int], int]]:
        for row, answers in zip(tokens, counted, strict=True):
            for place in np.flatnonzero(answers).tolist():
                bag = Counter(row[: place + 1].tolist())
                del bag[_MARK]
                yield bag, int(row[place + 1])
