"""Small `.bin/.idx` pairs, written by megatron-core's own builder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import workbench.fusion.upstream  # noqa: F401  (megatron comes after it)


def write_pair(prefix: Path, documents: Sequence[Sequence[int]], dtype: type[np.number] = np.uint16) -> Path:
    """Write the documents and give the prefix back."""
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for document in documents:
        builder.add_document(np.array(document), [len(document)])
    builder.finalize(f"{prefix}.idx")
    return prefix


def numbered_documents(count: int, length: int) -> list[list[int]]:
    """Documents of which every token tells its document (hundreds) and its place in it."""
    return [[100 * document + place for place in range(length)] for document in range(count)]
