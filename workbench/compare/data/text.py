"""Text as bytes: a stream of train bytes and a fixed stream of test bytes, from which windows are cut. The user's own files.

Token ids are the bytes themselves, so the vocabulary is 256 and no tokenizer is needed. Files are joined by a zero byte,
which no text holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.compare.data import draws
from workbench.compare.data.baselines import ngram_baselines
from workbench.compare.data.batch import Batch
from workbench.compare.training.record import Baseline
from workbench.errors import WorkbenchError, check_whole

VOCAB_SIZE = 256
SEPARATOR = b"\0"

# Text is held in memory whole.
_LARGEST_BYTES = 2**30
# The last part of every file is its test split.
_TEST_SHARE = 10


@dataclass(frozen=True, eq=False)
class TextData:
    """Windows of `sequence` tokens from two streams of bytes, `train` and `test` [n] uint8. A `Data`.

    Train windows start anywhere, drawn from `seed`, the batch's number and the row. Test windows do not overlap and are
    spread evenly over the test stream, at most `test_windows` of them; they do not depend on the seed.
    """

    name: str
    train: NDArray[np.uint8] = field(repr=False)
    test: NDArray[np.uint8] = field(repr=False)
    sequence: int
    seed: int
    source: Mapping[str, Any]
    test_windows: int = 128

    def __post_init__(self) -> None:
        check_whole("sequence", self.sequence, unit="token")
        check_whole("test_windows", self.test_windows)
        draws.check_seed(self.seed)
        for split, tokens in (("train", self.train), ("test", self.test)):
            if len(tokens) <= self.sequence:
                raise WorkbenchError(
                    f"{self.name}: the {split} split holds {len(tokens)} bytes, and one window of {self.sequence} tokens needs "
                    f"{self.sequence + 1}; give more text or a shorter sequence"
                )

    @property
    def vocab_size(self) -> int:
        """Bytes."""
        return VOCAB_SIZE

    def train_batch(self, number: int, rows: int) -> Batch:
        """`rows` windows, each drawn on its own."""
        last = len(self.train) - self.sequence
        starts = [int(draws.generator(draws.TRAIN, self.seed, number, row).integers(last)) for row in range(rows)]
        return Batch(self._windows(self.train, starts))

    def test_batches(self, rows: int) -> Iterator[Batch]:
        """The windows of the test stream, in order."""
        for first in range(0, len(self._test_starts), rows):
            yield Batch(self._windows(self.test, self._test_starts[first : first + rows]))

    def baselines(self) -> tuple[Baseline, ...]:
        """Uniform, unigram and bigram of the train stream on the targets of the test windows."""
        return self._baselines

    def facts(self) -> Mapping[str, Any]:
        """Where the text is from, digests and sizes of both splits, and how windows are cut."""
        return {
            "name": self.name,
            **self.source,
            "train_bytes": len(self.train),
            "test_bytes": len(self.test),
            "train_sha256": self._digests[0],
            "test_sha256": self._digests[1],
            "test_windows": len(self._test_starts),
            "sequence": self.sequence,
            "seed": self.seed,
        }

    @cached_property
    def _test_starts(self) -> list[int]:
        there = (len(self.test) - 1) // self.sequence
        taken = min(there, self.test_windows)
        return [index * there // taken * self.sequence for index in range(taken)]

    @cached_property
    def _baselines(self) -> tuple[Baseline, ...]:
        windows = self._windows(self.test, self._test_starts).numpy()
        return ngram_baselines(self.train, windows[:, :-1].ravel(), windows[:, 1:].ravel(), VOCAB_SIZE)

    @cached_property
    def _digests(self) -> tuple[str, str]:
        return hashlib.sha256(self.train).hexdigest(), hashlib.sha256(self.test).hexdigest()

    def _windows(self, stream: NDArray[np.uint8], starts: list[int]) -> torch.Tensor:
        cut = np.stack([stream[start : start + self.sequence + 1] for start in starts])
        return torch.from_numpy(cut.astype(np.int64))


def joined(texts: list[bytes]) -> NDArray[np.uint8]:
    """Texts as one stream, a zero byte between any two."""
    return np.frombuffer(SEPARATOR.join(texts), np.uint8)


def file_text(path: Path, *, sequence: int, seed: int) -> TextData:
    """The text of a file, or of every text file of a folder; the last tenth of every file is the test split.

    Hidden files and folders are passed over, and so are a folder's files that hold a zero byte (images, archives, UTF-16):
    `facts()` counts them. Raises `WorkbenchError` for a path that is not there, holds no text, too little or too much.
    """
    folder = path.is_dir()
    files = _files_of(path)
    texts = {file: read(file) for file in files}
    binary = [file for file, text in texts.items() if SEPARATOR in text]
    if binary and not folder:
        raise WorkbenchError(
            f"{path}: holds zero bytes, so it is not plain text in UTF-8 or ASCII; convert it, or tokenize it into a Megatron "
            ".bin/.idx pair"
        )
    kept = [text for text in texts.values() if text and SEPARATOR not in text]
    if not kept:
        raise WorkbenchError(
            f"{path}: no text in it ({len(files)} files, {len(binary)} of them binary, the others empty)"
        )
    cuts = [len(text) - len(text) // _TEST_SHARE for text in kept]
    train = joined([text[:cut] for text, cut in zip(kept, cuts, strict=True)])
    test = joined([text[cut:] for text, cut in zip(kept, cuts, strict=True) if cut < len(text)])
    source = {"path": str(path), "files": len(kept), "binary_files_left_out": len(binary)}
    return TextData(path.name or str(path), train, test, sequence, seed, source)


def read(file: Path) -> bytes:
    """A file's bytes; `WorkbenchError` where the system refuses them."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise WorkbenchError(f"{file}: cannot be read: {error.strerror or error}") from error


# ------------------------------------------------------------------------------------------------------


def _shown_files(folder: Path) -> Iterator[Path]:
    """The files in a folder and its folders; what is hidden is not looked into, and what cannot be is not passed over."""

    def refuse(error: OSError) -> None:
        raise WorkbenchError(f"{error.filename}: cannot be read: {error.strerror or error}") from error

    for place, folders, names in folder.walk(on_error=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (place / name for name in names if not name.startswith(".") and (place / name).is_file())


def _files_of(path: Path) -> list[Path]:
    """The file itself, or a folder's files that are not hidden, in the order of their names."""
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(_shown_files(path), key=lambda file: file.relative_to(path).as_posix())
    else:
        raise WorkbenchError(f"{path}: there is no such file or folder")
    size = sum(file.stat().st_size for file in files)
    if size > _LARGEST_BYTES:
        raise WorkbenchError(
            f"{path}: {size:,} bytes in {len(files)} files; text is held in memory, at most {_LARGEST_BYTES:,} bytes. Tokenize "
            "it into a Megatron .bin/.idx pair, which is read piece by piece"
        )
    return files
