"""The files of a Megatron `.bin/.idx` pair: found, checked against each other, and opened by megatron-core's `IndexedDataset`.

megatron trusts the index: a damaged one reaches its C++ code unchecked. So what the index says is checked here first.
megatron is imported when a pair is opened, not before.
"""

from __future__ import annotations

import struct
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError

# The header of an index (`_IndexWriter` of megatron/core/datasets/indexed_dataset.py): magic, version, code of the tokens' type, numbers of
# sequences and of document ends.
_HEADER = struct.Struct("<9sQBQQ")
_MAGIC = b"MMIDIDX\0\0"
# uint8, int8, int16, int32, int64 and uint16 (`DType` there; 6 and 7 are floats).
_WHOLE_NUMBERS = (1, 2, 3, 4, 5, 8)
_BYTES_A_SEQUENCE = 4 + 8  # a length and a place
_BYTES_A_DOCUMENT = 8


def bin_path(prefix: Path) -> Path:
    """`prefix`.bin, the tokens."""
    return prefix.with_name(prefix.name + ".bin")


def idx_path(prefix: Path) -> Path:
    """`prefix`.idx, which says where each document starts and ends."""
    return prefix.with_name(prefix.name + ".idx")


def prefix_of(path: Path) -> Path:
    """The prefix that both files share, of either file's name or of itself."""
    return path.with_name(path.stem) if path.suffix in (".bin", ".idx") else path


def open_pair(prefix: Path) -> Any:
    """megatron's `IndexedDataset` of a pair whose index fits its tokens.

    Raises `WorkbenchError` where a file is missing, is no such file, or the two do not belong together.
    """
    for file in (idx_path(prefix), bin_path(prefix)):
        if not file.is_file():
            raise WorkbenchError(f"{file}: there is no such file; a Megatron data set is a .bin and a .idx of one name")
        if not file.stat().st_size:
            raise WorkbenchError(f"{file}: the file is empty")
    _check_header(idx_path(prefix))
    try:
        with quiet():
            opened = dataset_classes().IndexedDataset(str(prefix))
    except (AssertionError, ValueError, OSError) as error:
        raise WorkbenchError(f"{idx_path(prefix)}: megatron-core cannot read this index: {error}") from error
    _check_documents(prefix, opened.index)
    return opened


@dataclass(frozen=True)
class DatasetClasses:
    """What is used of `megatron.core.datasets`."""

    IndexedDataset: Any
    GPTDataset: Any
    GPTDatasetConfig: Any
    Split: Any


def dataset_classes() -> DatasetClasses:
    """megatron-core's own, imported now. Raises `WorkbenchError` where its C++ part was not built."""
    import workbench.fusion.upstream  # noqa: F401  (it makes megatron importable on a host without CUDA)

    try:
        import megatron.core.datasets.helpers  # noqa: F401  (the C++ part, which GPTDataset imports when it is used)
        from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
        from megatron.core.datasets.indexed_dataset import IndexedDataset
        from megatron.core.datasets.utils import Split
    except ImportError as error:
        raise WorkbenchError(
            f"megatron-core's data sets do not import here: {error}. Its wheels for Linux hold their C++ part (helpers_cpp); where it is "
            "missing, `make` in the folder megatron/core/datasets of the installation builds it, with a C++ compiler and pybind11"
        ) from error
    return DatasetClasses(IndexedDataset, GPTDataset, GPTDatasetConfig, Split)


def quiet() -> AbstractContextManager[None]:
    """Inside, megatron does not say that it keeps no cache on disk, which is meant, nor that a tokenizer has no padding."""
    from workbench.fusion import noise  # imports megatron, as its package does

    return noise.quiet()


# ------------------------------------------------------------------------------------------------------


def _check_header(path: Path) -> None:
    """The file starts as an index does, and is as long as it says. (megatron would also fail, and once more in a `__del__`.)"""
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    magic, version, code, sequences, documents = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
    if magic != _MAGIC or version != 1:
        raise WorkbenchError(f"{path}: this is no Megatron index: it does not start with {_MAGIC!r} and version 1")
    if code not in _WHOLE_NUMBERS:
        raise WorkbenchError(
            f"{path}: the tokens are of kind {code}, which is none of whole numbers ({_WHOLE_NUMBERS})"
        )
    needed = _HEADER.size + _BYTES_A_SEQUENCE * sequences + _BYTES_A_DOCUMENT * documents
    if not sequences or not documents or path.stat().st_size < needed:
        raise WorkbenchError(
            f"{path}: an index of {sequences} sequences and {documents} document ends takes {needed} bytes, and this file has "
            f"{path.stat().st_size}"
        )


def _check_documents(prefix: Path, index: Any) -> None:
    """Every document lies inside the tokens."""
    dtype = np.dtype(index.dtype)
    lengths = index.sequence_lengths.astype(np.int64)
    starts = index.sequence_pointers
    there = bin_path(prefix).stat().st_size
    inside = (lengths >= 0) & (starts >= 0) & (starts <= there) & (lengths <= (there - starts) // dtype.itemsize)
    if not inside.all():
        wrong = int(np.flatnonzero(~inside)[0])
        raise WorkbenchError(
            f"{idx_path(prefix)}: document {wrong} is {lengths[wrong]} tokens from byte {starts[wrong]}, and {bin_path(prefix).name} has "
            f"{there} bytes; the two files do not belong together, or one is cut short"
        )
