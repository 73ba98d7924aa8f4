from pathlib import Path

import numpy as np
import pytest

from tests.compare.data.checks import check_data, whole_test_set
from tests.compare.data.indexed_pairs import numbered_documents, write_pair
from workbench.compare.data import indexed
from workbench.compare.data.indexed import IndexedData
from workbench.errors import WorkbenchError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twenty documents of thirty tokens."""
    return write_pair(tmp_path / "corpus", numbered_documents(20, 30))


def documents_in(tokens: np.ndarray) -> set[int]:
    return set((np.asarray(tokens) // 100).ravel().tolist())


def test_it_keeps_the_protocol(corpus: Path) -> None:
    check_data(IndexedData(corpus, sequence=8, seed=1))


def test_the_last_tenth_of_the_documents_is_the_test_split(corpus: Path) -> None:
    data = IndexedData(corpus, sequence=8, seed=1)
    tokens, _ = whole_test_set(data, 5)
    assert documents_in(tokens.numpy()) == {18, 19}
    assert len(tokens) == (2 * 30 - 1) // 8
    trained = data.train_batch(0, 200).tokens.numpy()
    assert documents_in(trained) == set(range(18))


def test_an_epoch_shows_every_target_once_in_an_order_of_its_own(corpus: Path) -> None:
    data = IndexedData(corpus, sequence=8, seed=1)
    size = (18 * 30 - 1) // 8
    epochs = [data.train_batch(epoch, size).tokens for epoch in range(3)]
    for tokens in epochs:
        targets = tokens[:, 1:].ravel().tolist()
        assert len(targets) == len(set(targets)) == size * 8
    assert len({tuple(tokens.ravel().tolist()) for tokens in epochs}) == 3


def test_a_batch_reaches_from_one_epoch_into_the_next(corpus: Path) -> None:
    data = IndexedData(corpus, sequence=8, seed=1)
    size = (18 * 30 - 1) // 8
    flat = np.concatenate([data.train_batch(epoch, size).tokens.numpy() for epoch in range(2)])
    by_tens = np.concatenate([data.train_batch(number, 10).tokens.numpy() for number in range(2 * size // 10)])
    assert np.array_equal(by_tens, flat[: len(by_tens)])


def test_the_order_is_of_the_seed_and_the_test_set_is_not(corpus: Path) -> None:
    one, other = (IndexedData(corpus, sequence=8, seed=seed) for seed in (1, 2))
    assert not np.array_equal(one.train_batch(0, 9).tokens, other.train_batch(0, 9).tokens)
    assert np.array_equal(whole_test_set(one, 4)[0], whole_test_set(other, 4)[0])


def test_samples_are_those_of_megatrons_own_dataset(corpus: Path) -> None:
    """Against `GPTDataset` built by megatron's builder from a config as Megatron-LM writes it, with its cache on disk."""
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

    data = IndexedData(corpus, sequence=8, seed=1)
    config = GPTDatasetConfig(
        random_seed=data._epoch_seed(0),
        sequence_length=8,
        blend=([str(corpus)], None),
        split="90,0,10",
        path_to_cache=str(corpus.with_name("cache")),
        tokenizer=indexed._Vocabulary(data.vocab_size),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    theirs, _, test = BlendedMegatronDatasetBuilder(GPTDataset, [None, 0, None], lambda: True, config).build()
    assert len(test) == len(whole_test_set(data, 9)[0])
    for row, tokens in enumerate(data.train_batch(0, len(theirs)).tokens):
        assert tokens[:-1].tolist() == theirs[row]["tokens"].tolist()
        assert tokens[1:].tolist() == theirs[row]["labels"].tolist()


def test_nothing_is_written_next_to_the_files(corpus: Path) -> None:
    data = IndexedData(corpus, sequence=8, seed=1)
    data.train_batch(0, 3)
    data.facts()
    assert sorted(file.name for file in corpus.parent.iterdir()) == ["corpus.bin", "corpus.idx"]


def test_the_vocabulary_is_found_or_given(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexed, "_SCANNED_AT_ONCE", 7)
    assert IndexedData(corpus, sequence=8, seed=1).vocab_size == 1930
    assert IndexedData(corpus, sequence=8, seed=1, vocabulary=5000).vocab_size == 5000
    with pytest.raises(
        WorkbenchError, match=r"token id \d+ is not in the vocabulary of 50; give the size of the tokenizer"
    ):
        IndexedData(corpus, sequence=8, seed=1, vocabulary=50).train_batch(0, 9)


def test_ngrams_may_see_a_part_of_the_train_split(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = IndexedData(corpus, sequence=8, seed=1).baselines()
    assert not any("first" in one.explanation for one in whole)
    monkeypatch.setattr(indexed, "_NGRAM_TOKENS", 45)
    part = IndexedData(corpus, sequence=8, seed=1).baselines()
    assert [one.name for one in part if "(its first 45 tokens)" in one.explanation] == [
        one.name for one in part if one.name != "uniform"
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_all_widths_of_token_are_read(tmp_path: Path, dtype: type[np.number]) -> None:
    prefix = write_pair(tmp_path / "ids", [[7, 8, 9, 10] * 5] * 4, dtype)
    data = IndexedData(prefix, sequence=4, seed=1)
    assert data.vocab_size == 11
    assert set(data.train_batch(0, 2).tokens.ravel().tolist()) == {7, 8, 9, 10}


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([[1] * 50], r"the train split has 0 tokens in 0 of 1 documents, and one sequence of 8 needs 9"),
        ([[1] * 50, [2] * 8], r"the test split has 8 tokens in 1 of 2 documents"),
        ([[1] * 8, [2] * 50], r"the train split has 8 tokens in 1 of 2 documents"),
    ],
)
def test_too_few_tokens(tmp_path: Path, documents: list[list[int]], message: str) -> None:
    prefix = write_pair(tmp_path / "short", documents)
    with pytest.raises(WorkbenchError, match=message):
        IndexedData(prefix, sequence=8, seed=1)


def test_the_shortest_corpus_that_is_enough(tmp_path: Path) -> None:
    data = IndexedData(write_pair(tmp_path / "enough", [[1] * 9, [2] * 9]), sequence=8, seed=1)
    assert data.train_batch(3, 2).tokens.tolist() == [[1] * 9] * 2
    assert whole_test_set(data, 2)[0].tolist() == [[2] * 9]


def test_negative_ids_are_refused(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path / "negative", [[1, -2] * 20] * 3, np.int32)
    with pytest.raises(WorkbenchError, match="token id -2; ids start at 0"):
        IndexedData(prefix, sequence=8, seed=1).vocab_size  # noqa: B018
    with pytest.raises(WorkbenchError, match="token id -2 is not in the vocabulary of 9"):
        IndexedData(prefix, sequence=8, seed=1, vocabulary=9).train_batch(0, 1)


@pytest.mark.parametrize(("field", "value"), [("sequence", 0), ("seed", -1), ("vocabulary", 0), ("test_windows", 0)])
def test_impossible_settings(corpus: Path, field: str, value: int) -> None:
    with pytest.raises(WorkbenchError, match=f"{field} must be a whole number"):
        IndexedData(corpus, **{"sequence": 8, "seed": 1, field: value})  # type: ignore[arg-type]
