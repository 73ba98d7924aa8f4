"""State tracking: the product of a word of group elements, which must be composed one by one.

Asked: after `a b c … =`, say which element a·b·c·… is. Every element matters and their order does too (S3, S5), so nothing can be
left out or looked up. Attention of a fixed depth, and `M` likewise, can do it only up to a length that the depth allows: Merrill,
Petty and Sabharwal 2024, "The illusion of state in state-space models" (arXiv 2404.08819), on S5. A linear recurrence does even parity
at any length only where its transitions have negative eigenvalues: Grazzi et al. 2024, "Unlocking state-tracking in linear
RNNs through negative eigenvalues" (arXiv 2411.12537). megatron-core's `M` and `G` have none: one multiplies with exp(-x), the other keeps
beta between 0 and 1.

The sources ask for the product after every element. A running text would then show the last product and leave one
step to do; so here a sequence is several words of random lengths, each asked for once, at its end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np

from workbench.compare.data.tasks.guesses import any_of
from workbench.compare.data.tasks.task import Example, Mask, Tokens
from workbench.compare.training.record import Baseline
from workbench.errors import WorkbenchError, check_choice, check_whole

# The number of things that are permuted, and whether only their rotations count.
_GROUPS = {"parity": (2, True), "Z3": (3, True), "Z5": (5, True), "S3": (3, False), "S4": (4, False), "S5": (5, False)}
_ASK = 0
# What a layer that sees only the last few elements has in view: as many as Mamba's convolution.
_IN_VIEW = 4


@dataclass(frozen=True)
class StateTracking:
    """`words` words of elements of a `group`, each followed by the question and its product; `length` tokens in all.

    Token 0 asks, elements are 1 and above. Groups: "parity" (two elements), "Z3", "Z5" (additions modulo 3 and 5), "S3", "S4",
    "S5" (all permutations of 3, 4, 5 things: 6, 24 and 120 elements). Raises `WorkbenchError` for another group, or a length that
    does not hold the words.
    """

    group: str = "S3"
    words: int = 4
    length: int = 64

    def __post_init__(self) -> None:
        check_choice("group", self.group, _GROUPS)
        check_whole("words", self.words)
        check_whole("length", self.length)
        if self.length + 1 < 3 * self.words:
            raise WorkbenchError(
                f"state-tracking: {self.words} words of one element take {3 * self.words - 1} tokens, more than the sequence of "
                f"{self.length}"
            )

    @property
    def name(self) -> str:
        """As it is opened."""
        return "state-tracking"

    @property
    def sequence(self) -> int:
        """The length."""
        return self.length

    @property
    def vocab_size(self) -> int:
        """The elements and the question."""
        return len(composition(self.group)) + 1

    def draw(self, generator: np.random.Generator) -> Example:
        """Words of at least one element, their lengths drawn so that all ways to divide the sequence are alike."""
        table = composition(self.group)
        elements = self.sequence + 1 - 2 * self.words
        cuts = np.sort(1 + generator.permutation(elements - 1)[: self.words - 1])
        word = generator.integers(len(table), size=elements)
        tokens, places = [], []
        for part in np.split(word, cuts):
            tokens += [*(1 + part).tolist(), _ASK, 1 + product(table, part)]
            places.append(len(tokens) - 2)
        counted = np.zeros(self.sequence, np.bool_)
        counted[places] = True
        return Example(np.array(tokens, np.int64), counted)

    def guesses(self, tokens: Tokens, counted: Mask) -> tuple[Baseline, ...]:
        """Any element; the product where the whole word is in view of a short convolution, else any element."""
        size = len(composition(self.group))
        lengths = np.concatenate([_word_lengths(row) for row in counted])
        known = float((lengths <= _IN_VIEW).mean())
        return (
            any_of(size, f"elements of {self.group}"),
            Baseline(
                f"last {_IN_VIEW}",
                (1 - known) * math.log(size),
                known + (1 - known) / size,
                f"exact for words of at most {_IN_VIEW} elements, any element for longer ones: a single element that is not seen leaves "
                "all products alike",
            ),
        )


@cache
def composition(group: str) -> np.ndarray:
    """`table[a, b]` is the element that does a first and b after it; element 0 does nothing."""
    things, rotations = _GROUPS[group]
    whole = tuple(range(things))
    elements = [whole[turn:] + whole[:turn] for turn in whole] if rotations else list(permutations(whole))
    index = {element: number for number, element in enumerate(elements)}
    return np.array([[index[tuple(a[place] for place in b)] for b in elements] for a in elements])


def product(table: np.ndarray, word: np.ndarray) -> int:
    """The elements of a word done one after another."""
    state = 0
    for element in word.tolist():
        state = int(table[state, element])
    return state


def _word_lengths(counted: Mask) -> Tokens:
    """The number of elements of each word: what lies between two answers, less the question itself."""
    asks = np.flatnonzero(counted)
    return np.diff(np.append(-2, asks)) - 2
