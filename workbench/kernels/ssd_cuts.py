"""How a scan is cut into chunks, and which chunks are worked on at once: the layout that `ssd_scan` walks over.

Letters as in `workbench.kernels.ssd`; d counts the chunks of a span.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

# Elements of the [d, b, h, q, q] tensors of one span: with twice as many they leave the level-2 cache, with half as many the
# calls of torch cost more than that saves.
_SPAN_ELEMENTS = 1 << 17


@dataclass(frozen=True)
class Span:
    """Neighbouring chunks of one size: numbers `first` … `first + count - 1`, `size` tokens each, from token `start` on."""

    first: int
    count: int
    size: int
    start: int

    @property
    def numbers(self) -> range:
        """The numbers of the chunks."""
        return range(self.first, self.first + self.count)

    def of(self, tensor: Tensor) -> Tensor:
        """[b, l, …] → [d, b, q, …], a view."""
        part = tensor[:, self.start : self.start + self.count * self.size]
        return part.unflatten(1, (self.count, self.size)).transpose(0, 1)


@dataclass(frozen=True)
class Cuts:
    """`length` tokens in chunks of `chunk`, the last one shorter where it does not divide; nothing is filled up.

    `begins[i]` says that chunk i begins a sequence, so that no state of the chunk before it comes in.
    """

    length: int
    chunk: int
    begins: tuple[bool, ...]

    @classmethod
    def of_one_sequence(cls, length: int, chunk: int) -> Cuts:
        """Every row is one sequence."""
        count = -(-length // chunk)
        return cls(length, chunk, (True, *[False] * (count - 1)))

    @property
    def count(self) -> int:
        """Chunks."""
        return len(self.begins)

    @property
    def sequences(self) -> int:
        """Sequences, one after the other."""
        return sum(self.begins)

    @property
    def carry(self) -> bool:
        """Whether any chunk hands a state to the next."""
        return not all(self.begins)

    def ends(self, chunk: int) -> bool:
        """Whether `chunk` is the last one of its sequence."""
        return chunk + 1 == self.count or self.begins[chunk + 1]

    def spans(self, rows_and_heads: int) -> Iterator[Span]:
        """All chunks from the left, in portions that stay in the cache."""
        whole = self.length // self.chunk
        most = max(1, _SPAN_ELEMENTS // (rows_and_heads * self.chunk * self.chunk))
        for first in range(0, whole, most):
            yield Span(first, min(most, whole - first), self.chunk, first * self.chunk)
        if self.length % self.chunk:
            yield Span(whole, 1, self.length % self.chunk, whole * self.chunk)
