"""The notebook that teaches fusion, and the front door: what they show, and exercises that know right from wrong."""

import time

import nbformat
import pytest

from .running import EDIT, NOTEBOOKS, TEACHING, code_cells, executed, once, outputs, read, shown_text, stderr

PATHS = {path.stem: path for path in NOTEBOOKS}
UNANSWERED = "answer = None"
SECONDS = 60  # that a reader may wait for a whole run

RIGHT = ("[M-]M[*-]M", 7, "MM[*-]ME", "M|[*-]ME", 4, "M-M*E")
WRONG = ("[M-]M*", 10, "M[M*]-ME", "M*-ME", 2, "[M-]M*E")


@pytest.fixture(scope="module")
def teaching(tmp_path_factory):
    """The notebook as it is, run once, and how long that took."""
    start = time.monotonic()
    notebook = executed(PATHS[TEACHING], tmp_path_factory.mktemp("teaching"))
    return notebook, time.monotonic() - start


@pytest.fixture(scope="module")
def front_door():
    """The first thing that somebody opens, run without a browser."""
    return once(PATHS[EDIT])[0]


def test_it_is_quick(teaching):
    assert teaching[1] < SECONDS


def test_exercises_that_nobody_answered_say_so_and_fail_nothing(teaching):
    notebook, _ = teaching
    assert said(notebook) == ["– not answered yet"] * len(RIGHT)
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    assert stderr(notebook) == []


def test_right_answers_are_right(tmp_path):
    assert said(answered(RIGHT, tmp_path)) == ["✓ right"] * len(RIGHT)


def test_wrong_answers_are_told_why_and_not_what_is_right(tmp_path):
    notebook = answered(WRONG, tmp_path)
    assert said(notebook) == ["✗ not right"] * len(WRONG)
    assert stderr(notebook) == []
    for cell, right in zip(exercises(notebook), RIGHT, strict=True):
        assert f" {right} " not in f" {shown(cell)} ", "the solution"


def test_pictures_are_made_by_the_code(teaching):
    html = [output.get("data", {}).get("text/html", "") for output in outputs(teaching[0])]
    pictures = [part for part in html if "<img" in part]
    assert len(pictures) == 6
    assert all("data:image/svg+xml;base64," in part for part in pictures)


@pytest.mark.parametrize(
    "told",
    [
        "┆ MLP slot: empty ┆ │ □ MLP",
        "stream 2 + mixer 2 = stream 3 [32, 2, 64] yes",
        "decoder.layers.1 - MLPLayer IdentityOp MLP",
        "decoder.layers.1 [*-] TransformerLayer SelfAttention MLP",
        "IdentityOp 16 4 16 4",
        "all modules 59 39 60 40",
        "inputs kept by full recompute 118 64",
        "all layers, without recompute 157 GiB 157 GiB",
        "error group-crosses-stage at 3",
        "layers.3.mlp.linear_fc2.weight layers.3.mlp.linear_fc2.weight layers.1.mlp.linear_fc2.weight",
        "490.7 against 491.2 ms a step",
    ],
)
def test_the_story_is_told(teaching, told):
    assert told in " ".join(shown_text(teaching[0]).split())


def test_the_unfused_model_becomes_the_fused_one_by_loading(teaching):
    text = shown_text(teaching[0])
    fused, before, after = (
        line.split()[-2:] for line in text[text.index("Saved fused, loaded unfused.") :].splitlines()[3:6]
    )
    assert fused == after
    assert before[0] != after[0]
    assert (fused[1], before[1]) == ("yes", "no")


def test_the_front_door_shows_a_picture_where_no_widget_lives(front_door):
    assert stderr(front_door) == []
    assert [output for output in outputs(front_door) if output.output_type == "error"] == []
    picture, widget = code_cells(front_door)[0].outputs
    assert "<img" in picture.data["text/html"]
    assert "8 blocks · 10 sub-layers · 2 fused pairs · 2 stages" in picture.data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in widget.data
    assert "widgets" not in front_door.metadata


def test_later_cells_use_what_the_editor_holds(front_door):
    _, fused, cost = map(shown, code_cells(front_door))
    assert fused.startswith("M[*-]M[ME]|[M-][*-]/[*-]\n")
    assert cost.startswith("M[*-]M[ME]|M-*-/[*-]\n")
    assert "2,281,671,424 parameters" in cost


def answered(answers, folder):
    """The notebook, run with an answer in place of every None."""
    notebook = read(PATHS[TEACHING])
    for cell, answer in zip(exercises(notebook), answers, strict=True):
        cell.source = cell.source.replace(UNANSWERED, f"answer = {answer!r}")
    nbformat.write(notebook, folder / "answered.ipynb")
    (folder / "run").mkdir()
    return executed(folder / "answered.ipynb", folder / "run")


def exercises(notebook):
    """The cells that an answer is written in."""
    return [cell for cell in code_cells(notebook) if "answer = " in cell.source]


def said(notebook):
    """What each exercise said, up to the colon."""
    return [shown(cell).partition(":")[0] for cell in exercises(notebook)]


def shown(cell):
    return "\n".join(output.get("text") or output.data["text/plain"] for output in cell.outputs)
