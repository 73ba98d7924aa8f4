"""The training notebook: both twins the same bits, a run resumed by the other twin, a measurement that says what it was of."""

import re

import pytest

from .running import NOTEBOOKS, TRAINING, once, shown_text, stderr

(PATH,) = (path for path in NOTEBOOKS if path.stem == TRAINING)


@pytest.fixture(scope="module")
def notebook():
    return once(PATH)[0]


def test_it_tells_its_story(notebook):
    text = shown_text(notebook)
    for said in (
        "how often each token follows the one before it in the train",
        "Identical in every step: True.",
        "the power is gone",
        "M*-MME from step 71 on; losses equal to the uninterrupted run's: 150 of 150",
        "every weight in the end, are\nthe same bits",
        "Parts of a step, host regime",
        "Parts of a step, compute regime",
        "[ME]   –",
    ):
        assert said in text
    assert stderr(notebook) == []


def test_the_model_has_learned_more_than_bytes_alone_tell(notebook):
    text = shown_text(notebook)
    loss = {name: float(value) for name, value in re.findall(r"^  (unigram|M\[\*-\]M\[ME\]) +(\d\.\d{4}) ", text, re.M)}
    assert loss["M[*-]M[ME]"] < loss["unigram"] - 0.5


def test_fewer_calls_are_counted(notebook):
    text = shown_text(notebook)
    for what in ("blocks", "module calls", "python calls"):
        unfused, fused = re.search(rf"^  {what} +([\d,]+) +([\d,]+)$", text, re.M).groups()
        assert int(fused.replace(",", "")) < int(unfused.replace(",", ""))


def test_the_chart_is_there_without_widgets(notebook):
    charts = [
        output["data"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "difference of loss" in str(output.get("data", {}).get("text/plain", ""))
    ]
    assert charts
    assert "step 150" in charts[0]["text/plain"]
    assert "<img" in charts[0]["text/html"]
