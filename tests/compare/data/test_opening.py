from pathlib import Path

import pytest

from tests.compare.data.indexed_pairs import numbered_documents, write_pair
from workbench.compare.data.indexed import IndexedData
from workbench.compare.data.opening import names, open_data, options
from workbench.compare.data.tasks.induction import Induction
from workbench.compare.data.tasks.mqar import MultiQueryAssociativeRecall
from workbench.compare.data.tasks.selective_copying import SelectiveCopying
from workbench.compare.data.tasks.state_tracking import StateTracking
from workbench.compare.data.tasks.task import TaskData
from workbench.compare.data.text import TextData
from workbench.errors import WorkbenchError


def test_every_name_opens_and_calls_itself_so() -> None:
    assert names() == ("stdlib", "mqar", "selective-copying", "induction", "state-tracking")
    for name in names():
        data = open_data(name, seed=3)
        assert data.name == name
        assert data.facts()["seed"] == 3


def test_options_are_those_of_the_task() -> None:
    assert options("mqar") == {"pairs": 16, "vocabulary": 64}
    assert options("state-tracking") == {"group": "S3", "words": 4}
    assert options("stdlib") == {}


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("mqar", MultiQueryAssociativeRecall()),
        ("mqar:pairs=4,vocabulary=16", MultiQueryAssociativeRecall(pairs=4, vocabulary=16)),
        ("selective-copying:copied=3", SelectiveCopying(copied=3)),
        ("induction:vocabulary=8,repeats=1", Induction(vocabulary=8, repeats=1)),
        ("state-tracking:group=S5", StateTracking(group="S5")),
    ],
)
def test_a_task_with_its_options(text: str, task: object) -> None:
    data = open_data(text, seed=1)
    assert isinstance(data, TaskData)
    assert data.task == task


def test_the_sequence_is_a_tasks_length_or_its_own() -> None:
    assert open_data("mqar:pairs=4", seed=1).sequence == 16
    assert open_data("mqar:pairs=4", sequence=50, seed=1).sequence == 50
    assert open_data("induction", seed=1).sequence == 64
    assert open_data("stdlib", seed=1).sequence == 128
    assert open_data("stdlib", sequence=20, seed=1).sequence == 20
    with pytest.raises(WorkbenchError, match="take 64 tokens, more than the sequence of 50"):
        open_data("mqar", sequence=50, seed=1)


def test_paths_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "novel.txt").write_text("It was a dark and stormy night. " * 99)
    (tmp_path / "mqar").write_text("A file that is called like a task. " * 99)
    (tmp_path / "odd:name=1").write_text("A file that is called like an option. " * 99)
    monkeypatch.chdir(tmp_path)
    for text in ("novel.txt", str(tmp_path / "novel.txt"), str(tmp_path), "./mqar", "odd:name=1", "."):
        data = open_data(text, seed=1)
        assert isinstance(data, TextData)
        assert data.sequence == 128
    assert isinstance(open_data("mqar", seed=1), TaskData)


def test_paths_of_a_pair(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path / "a.corpus", numbered_documents(20, 30))
    for text in (str(prefix), f"{prefix}.bin", f"{prefix}.idx"):
        data = open_data(text, sequence=8, seed=1)
        assert isinstance(data, IndexedData)
        assert (data.prefix, data.vocab_size) == (prefix, 1930)
    assert open_data(f"{prefix}:vocabulary=5000", sequence=8, seed=1).vocab_size == 5000
    with pytest.raises(WorkbenchError, match="has no option 'pairs'; it has vocabulary"):
        open_data(f"{prefix}:pairs=5000", sequence=8, seed=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"data '' is no file, folder or Megatron pair, nor one of stdlib, mqar, selective-copying"),
        ("mqra", r"data 'mqra' is no file, .* state-tracking; did you mean mqar\?"),
        ("no/such/corpus.bin", r"corpus\.idx: there is no such file; a Megatron data set is"),
        ("mqar:", r"after the colon come options, as in mqar:name=value"),
        ("mqar:16", r"after the colon come options, as in mqar:name=value"),
        ("mqar:pairs", r"after the colon come options"),
        ("mqar:pairs=", r"options are name=value, parted by commas; 'pairs=' is not"),
        ("mqar:pairs=4,", r"options are name=value, parted by commas; '' is not"),
        ("mqar:pairs=4,pairs=5", r"an option is given twice"),
        ("mqar:pears=4", r"mqar has no option 'pears'; it has pairs \(16\), vocabulary \(64\)$"),
        ("mqar:length=400", r"no option 'length'; .*; how long it is, is the sequence length"),
        ("mqar:pairs=four", r"mqar: pairs must be a whole number, not 'four'"),
        ("mqar:pairs=-1", r"pairs must be a whole number of at least 1"),
        ("state-tracking:group=Q8", r"group must be one of parity, Z3"),
        ("long" * 1000, r"data 'long.*: File name too long$"),
        ("stdlib:pairs=4", r"stdlib has no option 'pairs'; it has none"),
    ],
)
def test_what_cannot_be_opened(text: str, message: str) -> None:
    with pytest.raises(WorkbenchError, match=message):
        open_data(text, seed=1)


@pytest.mark.parametrize("text", ["mqar", "stdlib"])
def test_a_sequence_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(WorkbenchError, match=r"(length|sequence) must be a whole number of at least \d"):
        open_data(text, sequence=-3, seed=1)
