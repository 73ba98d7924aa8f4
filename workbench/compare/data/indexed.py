"""A Megatron `.bin/.idx` pair as training data, read by megatron-core's own `IndexedDataset` and cut by its `GPTDataset`.

So a model here sees the samples that Megatron-LM would cut from the same documents: documents shuffled, then laid end to end,
then cut into sequences, then shuffled again. Epochs follow one another with a shuffle of their own. Indices are built in
memory: nothing is written next to the user's files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.compare.data import draws
from workbench.compare.data.baselines import ngram_baselines
from workbench.compare.data.batch import Batch
from workbench.compare.data.indexed_files import bin_path, dataset_classes, idx_path, open_pair, quiet
from workbench.compare.training.record import Baseline
from workbench.errors import WorkbenchError, check_whole

# The last documents, one in this many, are the test split; megatron's own splits are by document too.
_TEST_SHARE = 10
# Counting all pairs of a corpus takes longer than training on it here: n-grams see the first train tokens only.
_NGRAM_TOKENS = 2**22
_SCANNED_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class IndexedData:
    """The documents of `prefix`.bin and `prefix`.idx in sequences of `sequence` tokens. A `Data`.

    `vocabulary` is the number of token ids; None finds the largest id in the file, which reads it whole. The last tenth of the
    documents is the test split, of which at most `test_windows` sequences are used, the same for every seed. Raises
    `WorkbenchError` for files that are not there, no such pair, damaged, or too short.
    """

    prefix: Path
    sequence: int
    seed: int
    vocabulary: int | None = None
    test_windows: int = 128

    def __post_init__(self) -> None:
        check_whole("sequence", self.sequence, unit="token")
        check_whole("test_windows", self.test_windows)
        draws.check_seed(self.seed)
        if self.vocabulary is not None:
            check_whole("vocabulary", self.vocabulary)
        lengths = self._documents.sequence_lengths
        for split, documents in (("train", self._train_documents), ("test", self._test_documents)):
            tokens = int(lengths[documents].sum(dtype=np.int64))
            if tokens <= self.sequence:
                raise WorkbenchError(
                    f"{self.prefix}: the {split} split has {tokens} tokens in {len(documents)} of {len(lengths)} documents, and one "
                    f"sequence of {self.sequence} needs {self.sequence + 1}; give more documents or a shorter sequence"
                )

    @property
    def name(self) -> str:
        """The pair's."""
        return self.prefix.name

    @cached_property
    def vocab_size(self) -> int:
        """`vocabulary`, or one more than the largest id in the file."""
        return self.vocabulary or self._largest_id() + 1

    def train_batch(self, number: int, rows: int) -> Batch:
        """Samples `number * rows` and on, of the epoch they fall into."""
        size = len(self._epoch(0))
        places = [divmod(number * rows + row, size) for row in range(rows)]
        return self._batch([self._sample(self._epoch(epoch), place) for epoch, place in places])

    def test_batches(self, rows: int) -> Iterator[Batch]:
        """The first samples of the test split."""
        for first in range(0, self._test_count, rows):
            places = range(first, min(first + rows, self._test_count))
            yield self._batch([self._sample(self._test, place) for place in places])

    def baselines(self) -> tuple[Baseline, ...]:
        """Uniform, unigram and bigram; the latter two fitted on the first 4 Mi tokens of the train split."""
        return self._baselines

    def facts(self) -> Mapping[str, Any]:
        """The pair's name and size, digests of its index and of what is drawn first, and how it is cut."""
        return {
            "name": self.name,
            "path": str(self.prefix),
            "bin_bytes": bin_path(self.prefix).stat().st_size,
            "idx_sha256": hashlib.sha256(idx_path(self.prefix).read_bytes()).hexdigest(),
            "documents": len(self._documents.sequence_lengths),
            "test_documents": len(self._test_documents),
            "vocab_size": self.vocab_size,
            "test_windows": self._test_count,
            "sequence": self.sequence,
            "seed": self.seed,
            "sample_sha256": self._sample_digest,
        }

    # --------------------------------------------------------------------------------------------------

    @cached_property
    def _documents(self) -> Any:
        """megatron's `IndexedDataset`."""
        return open_pair(self.prefix)

    @property
    def _train_documents(self) -> NDArray[np.int32]:
        return np.arange(self._first_test_document, dtype=np.int32)

    @property
    def _test_documents(self) -> NDArray[np.int32]:
        return np.arange(self._first_test_document, len(self._documents.sequence_lengths), dtype=np.int32)

    @property
    def _first_test_document(self) -> int:
        there = len(self._documents.sequence_lengths)
        return there - max(1, there // _TEST_SHARE)

    @cached_property
    def _epochs(self) -> Any:
        """Epoch → its `GPTDataset`. Two are kept, for a batch may reach from one into the next."""
        return lru_cache(maxsize=2)(lambda epoch: self._cut(self._train_documents, self._epoch_seed(epoch), "train"))

    def _epoch(self, epoch: int) -> Any:
        return self._epochs(epoch)

    def _epoch_seed(self, epoch: int) -> int:
        # megatron seeds NumPy's older generator, which takes 32 bits.
        return int(draws.generator(draws.TRAIN, self.seed, epoch, 0).integers(2**32))

    @cached_property
    def _test(self) -> Any:
        return self._cut(self._test_documents, draws.TEST_SEED, "test")

    @property
    def _test_count(self) -> int:
        return min(len(self._test), self.test_windows)

    def _cut(self, documents: NDArray[np.int32], seed: int, split: str) -> Any:
        """One epoch of megatron's samples from some documents."""
        datasets = dataset_classes()
        with quiet():
            config = datasets.GPTDatasetConfig(
                random_seed=seed,
                sequence_length=self.sequence,
                blend=([str(self.prefix)], None),
                split="9,0,1",
                path_to_cache="",  # falsy, yet not None: neither a cache of the user's nor one next to his files
                tokenizer=_Vocabulary(self.vocab_size),
                reset_position_ids=False,
                reset_attention_mask=False,
                eod_mask_loss=False,
                create_attention_mask=False,
            )
            return datasets.GPTDataset(
                self._documents, str(self.prefix), documents, None, datasets.Split[split], config
            )

    def _sample(self, dataset: Any, place: int) -> torch.Tensor:
        sample = dataset[place]
        return torch.cat([sample["tokens"], sample["labels"][-1:]])

    def _batch(self, samples: list[torch.Tensor]) -> Batch:
        tokens = torch.stack(samples)
        for found in (int(tokens.min()), int(tokens.max())):
            if not 0 <= found < self.vocab_size:
                raise WorkbenchError(
                    f"{self.prefix}: token id {found} is not in the vocabulary of {self.vocab_size}; give the size of the tokenizer "
                    "that wrote the file"
                )
        return Batch(tokens)

    def _largest_id(self) -> int:
        stream = np.memmap(bin_path(self.prefix), dtype=self._documents.index.dtype, mode="r")
        parts = [stream[at : at + _SCANNED_AT_ONCE] for at in range(0, len(stream), _SCANNED_AT_ONCE)]
        if (least := min(int(part.min()) for part in parts)) < 0:
            raise WorkbenchError(f"{bin_path(self.prefix)}: token id {least}; ids start at 0")
        return max(int(part.max()) for part in parts)

    @cached_property
    def _baselines(self) -> tuple[Baseline, ...]:
        parts, taken = [], 0
        for document in self._train_documents.tolist():
            parts.append(self._documents.get(document, length=None)[: _NGRAM_TOKENS - taken].astype(np.int64))
            taken += len(parts[-1])
            if taken == _NGRAM_TOKENS:
                break
        test = torch.cat([batch.tokens for batch in self.test_batches(64)]).numpy()
        found = ngram_baselines(np.concatenate(parts), test[:, :-1].ravel(), test[:, 1:].ravel(), self.vocab_size)
        partly = f" (its first {taken:,} tokens)" if taken == _NGRAM_TOKENS else ""
        return tuple(
            replace(one, explanation=one.explanation + (partly if one.name != "uniform" else "")) for one in found
        )

    @cached_property
    def _sample_digest(self) -> str:
        batches = [*self.test_batches(64), self.train_batch(0, 4)]
        return hashlib.sha256(b"".join(batch.tokens.numpy().tobytes() for batch in batches)).hexdigest()


@dataclass(frozen=True)
class _Vocabulary:
    """What `GPTDataset` asks of a tokenizer. No token ends a document or pads: none is masked."""

    vocab_size: int
    eod: int = -1

    @property
    def unique_identifiers(self) -> dict[str, int]:
        return {"vocab_size": self.vocab_size}
