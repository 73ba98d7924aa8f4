"""A checkpoint that does not exist: names, shapes and dtypes of an architecture, and no values. numpy only.

What is said of names and shapes alone (layout, pattern, whether a model would load it) can be asked of one of these.
"""

from __future__ import annotations

from collections.abc import Iterable

from workbench.arch.architecture import Tensor
from workbench.checkpoint.dtypes import Array
from workbench.checkpoint.source import Checkpoint
from workbench.checkpoint.tensors import StoredTensor, contiguous
from workbench.errors import WorkbenchError


class NoBytes:
    """A buffer of any size that holds nothing: looking at it is an error. Places in it are told apart all the same."""

    def __init__(self, where: str) -> None:
        self.where, self.size = where, 0

    def view(self, start: int, length: int) -> Array:
        """Raises `WorkbenchError`."""
        raise WorkbenchError(f"{self.where} was predicted from sizes: it has names and shapes, and no values to read")


def predicted(
    tensors: Iterable[Tensor], *, where: str = "a predicted checkpoint", format: str = "mapping"
) -> Checkpoint:
    """A checkpoint of these names, shapes and dtypes, such as `Architecture.canonical()` or `arch.stored.stored` give.

    Reading a value of it raises `WorkbenchError`. Every tensor has its own place, so that one taken for another shows.
    """
    data, found = NoBytes(where), dict[str, StoredTensor]()
    for entry in tensors:
        tensor = contiguous(data, data.size, entry.shape, entry.dtype)
        data.size += tensor.nbytes
        found[entry.name] = tensor
    return Checkpoint(where, format, found)
