"""Multi-query associative recall: a list of keys with their values, then the keys again, each asking for its value.

Asked: after `a 4  b 3  c 6 …`, what follows `b`? All pairs must be kept, since any may be asked for, so a layer with a state of
fixed size needs one that grows with the pairs; attention looks the pair up and needs none.

Source: Arora et al. 2023, "Zoology" (arXiv 2312.04927), section 4, where attention solves it at any width and gated convolutions and
recurrences need a width that grows with the length; Arora et al. 2024, "Based" (arXiv 2402.18668), section 3: recall costs a
state in proportion, whatever the layer. A delta rule (`G`) writes over what it stored under a key and so wastes
less of its state than a plain sum (`M`): Yang et al. 2024, arXiv 2412.06464.

Here a value follows its key when it is asked for too, as in running text. The source asks without ever showing the answer;
no key is asked twice here, so nothing is given away.
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

_FILLER = 0


@dataclass(frozen=True)
class MultiQueryAssociativeRecall:
    """`pairs` pairs, then every key once, in any order, with filler between; `length` tokens in all (0: as few as needed).

    Half of the `vocabulary` are keys, half values. Keys of a sequence differ, values need not. Token 0 is the filler, keys are
    1 to vocabulary / 2. Raises `WorkbenchError` where there are fewer keys than pairs, or the length is too short.
    """

    pairs: int = 16
    vocabulary: int = 64
    length: int = 0

    def __post_init__(self) -> None:
        check_whole("pairs", self.pairs)
        check_whole("vocabulary", self.vocabulary, 2)
        check_whole("length", self.length, 0)
        if self.vocabulary % 2 or self.vocabulary < 2 * self.pairs:
            raise WorkbenchError(
                f"mqar: vocabulary {self.vocabulary} must be even and at least {2 * self.pairs}: half of it are keys, and "
                f"{self.pairs} pairs need as many different ones"
            )
        if 0 < self.length < 4 * self.pairs:
            raise WorkbenchError(
                f"mqar: {self.pairs} pairs and as many questions take {4 * self.pairs} tokens, more than the sequence of {self.length}"
            )

    @property
    def name(self) -> str:
        """As it is opened."""
        return "mqar"

    @property
    def sequence(self) -> int:
        """The length; four tokens a pair where none was given."""
        return self.length or 4 * self.pairs

    @property
    def vocab_size(self) -> int:
        """Keys, values and the filler."""
        return self.vocabulary + 1

    def draw(self, generator: np.random.Generator) -> Example:
        """The pairs first; then every place that is left is as likely to hold a question as any other."""
        kinds = self.vocabulary // 2
        keys = 1 + generator.permutation(kinds)[: self.pairs]
        values = 1 + kinds + generator.integers(kinds, size=self.pairs)
        tokens = np.full(self.sequence + 1, _FILLER, np.int64)
        tokens[0 : 2 * self.pairs : 2] = keys
        tokens[1 : 2 * self.pairs : 2] = values
        # A question is two tokens: places are drawn among as many single ones as there are, then moved apart.
        slots = self.sequence + 1 - 3 * self.pairs
        places = np.sort(generator.permutation(slots)[: self.pairs]) + np.arange(2 * self.pairs, 3 * self.pairs)
        order = generator.permutation(self.pairs)
        tokens[places] = keys[order]
        tokens[places + 1] = values[order]
        counted = np.zeros(self.sequence, np.bool_)
        counted[places] = True
        return Example(tokens, counted)

    def guesses(self, tokens: Tokens, counted: Mask) -> tuple[Baseline, ...]:
        """Any value; a value of this sequence; one of this sequence that was not an answer yet."""
        return (
            any_of(self.vocabulary // 2, "values"),
            from_bags(
                "values seen",
                self._asked(tokens, counted, forget=False),
                "a value of this sequence, without knowing which key it belongs to",
            ),
            from_bags(
                "values left",
                self._asked(tokens, counted, forget=True),
                "a value of this sequence that was not asked for yet, without knowing which key it belongs to",
            ),
        )

    def _asked(self, tokens: Tokens, counted: Mask, forget: bool) -> Iterator[tuple[Counter[int], int]]:
        """The values that an answer may be, and the answer; `forget` those that were answers."""
        for row, answers in zip(tokens, counted, strict=True):
            bag = Counter(row[1 : 2 * self.pairs : 2].tolist())
            for answer in row[1:][answers].tolist():
                yield bag, answer
                if forget:
                    bag = bag - Counter([answer])
