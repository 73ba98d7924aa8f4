"""The diff browser as a Python object: what it says of a diff, what it answers, what stands in a notebook. No browser."""

import json
from dataclasses import replace

import pytest

from workbench.checkpoint.differences import Metrics
from workbench.errors import WorkbenchError
from workbench.ui import diff_state, files
from workbench.ui.diff_browser import DiffBrowser

from ..render.hostile import TEXTS
from ..render.pages import assert_self_contained
from ..views.diffs import ALL, DIFFERENT, IDENTICAL, MANY, NAN, VALUE
from ..views.test_diff import hostile


def heard(browser, **message):
    """A message of a page, and what the browser sent back."""
    sent = []
    browser.send = sent.append
    browser._receive(None, message, [])
    return sent


def test_everything_is_said_once():
    state = DiffBrowser(DIFFERENT).state
    assert (state["outcome"], state["word"]) == ("fail", "DIFFERENT")
    assert state["causes"] == list(DIFFERENT.sentences)
    assert state["sides"] == ["left: runs/before (torch_dist)", "right: runs/after.safetensors (safetensors)"]
    assert [row[0][0][1] for row in state["rows"]] == [entry.kind for entry in ALL]
    assert state["picks"] == [
        ["verdict", ["missing", "extra", "shape", "dtype", "value", "object", "renamed"]],
        ["kind of layer", ["MLP", "Mamba-2", "mixture of experts", "self-attention", "outside the layers"]],
    ]
    cells, keys, picked, sentences, can_look = state["rows"][5]
    assert cells == [
        ["fail", "value"], VALUE.name, "sub-layer 2, MLP", "[64, 64] bfloat16", "3 of 4,096", "1.19e-07", "2.5e-05", "1", "1 − 2e-09",
    ]  # fmt: skip
    assert keys[4:] == [3, VALUE.metrics.max_abs, 2.5e-05, 1, 1 - 2e-9]
    assert picked == ["value", "MLP"]
    assert sentences == [
        "3 of 4,096 values differ.",
        f"{VALUE.name} is {VALUE.other_name} on the right. They were paired by a rule of the layouts.",
        "The first mismatch is at [3, 17]: 0.100098 on the left, 0.100342 on the right.",
    ]
    assert can_look


def test_the_state_is_json():
    endless = replace(NAN, metrics=Metrics(1, 1, max_abs=float("inf"), max_rel=float("nan"), cosine=float("-inf")))
    state = DiffBrowser(replace(DIFFERENT, differences=(endless,))).state
    assert state["rows"][0][1][5:] == ["Infinity", "NaN", None, "-Infinity"]
    json.dumps(state, allow_nan=False)


def test_an_identical_diff_has_no_rows():
    state = DiffBrowser(IDENTICAL).state
    assert (state["outcome"], state["rows"]) == ("pass", [])


def test_five_thousand_rows_are_sent_and_more_are_counted():
    many = replace(MANY, differences=MANY.differences * 2)
    state = DiffBrowser(many).state
    assert len(state["rows"]) == diff_state.MOST_ROWS
    assert state["caption"] == "5,000 differences, the worst first; 5,000 are not shown here: JSON has every one."


def test_an_opened_row_is_looked_at():
    browser, seen = DiffBrowser(DIFFERENT), []
    browser.observe(lambda change: seen.append(change.new.name), "detail")
    (answer,) = heard(browser, do="look", row=5)
    assert answer["row"] == 5
    assert answer["detail"]["histogram"][0][:2] == ["equal", "4,093"]
    assert answer["detail"]["sample"][0] == ["[3, 17]", "0.10009765625", "0.100341796875"]
    assert answer["detail"]["heat"]["light"].startswith("data:image/svg+xml;base64,")
    assert answer["detail"]["heat"]["light"] != answer["detail"]["heat"]["dark"]
    assert "cells of 12 × 16" in answer["detail"]["heat"]["said"]
    assert seen == [VALUE.name] == [browser.detail.name]


def test_what_cannot_be_looked_at_says_why():
    def gone(name):
        raise WorkbenchError(f"{name}: the file is gone")

    (answer,) = heard(DiffBrowser(replace(DIFFERENT, look=gone)), do="look", row=5)
    assert answer == {"row": 5, "notice": f"{VALUE.name}: the file is gone"}
    (answer,) = heard(DiffBrowser(replace(DIFFERENT, look=None)), do="look", row=5)
    assert "read from a file" in answer["notice"]
    assert not any(row[4] for row in DiffBrowser(replace(DIFFERENT, look=None)).state["rows"])


@pytest.mark.parametrize("message", [{}, {"do": "nonsense"}, {"do": "look", "row": -1}, {"do": "look", "row": 10**9}])
def test_no_message_is_an_error(message):
    assert heard(DiffBrowser(DIFFERENT), **message) == []


@pytest.mark.parametrize("said", TEXTS, ids=range(len(TEXTS)))
def test_hostile_texts_are_texts(said):
    browser = DiffBrowser(hostile(said))
    written = json.dumps(browser.state, ensure_ascii=False)
    written.encode()
    assert not {"\x1b", "\0", "\u202e", "\u2066"} & set(written)
    data, _ = browser._repr_mimebundle_()
    assert_self_contained(data["text/html"])


def test_a_bundle_has_the_widget_the_table_and_the_text():
    data, _ = DiffBrowser(DIFFERENT)._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert data["text/plain"].startswith("Two checkpoints compared\n\n✗ DIFFERENT")
    assert data["text/html"].startswith('<div class="wb-static">')


def test_the_script_is_one_module_that_reads_no_markup():
    script = files.diff_script()
    assert script.count("export default") == 1
    markup = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser")
    for way in (*markup, "eval(", "http:", "https:", "import "):
        assert way not in script
    assert "http" not in files.diff_style()
    assert "@import" not in files.diff_style()
