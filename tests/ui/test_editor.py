"""The editor as a Python object: traits, commands, messages, what stands in a notebook. No browser."""

import pytest
import traitlets

from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.pattern.diagnostics import PatternError
from workbench.pattern.model import Pattern
from workbench.ui import files, static
from workbench.ui.editor import Editor
from workbench.ui.history import History, Step

EXAMPLE = "M[*-]M[ME]|M-*-/[*-]"


def heard(editor, **message):
    """A message of a page, and what the editor sent back beside its state."""
    sent = []
    editor.send = sent.append
    editor._receive(None, {"view": "v", "number": 1, **message}, [])
    return sent


def test_a_pattern_is_there_while_the_text_is_one():
    editor = Editor(EXAMPLE)
    assert editor.pattern == Pattern(EXAMPLE)
    editor.value = "M["
    assert editor.pattern is None
    with pytest.raises(PatternError):
        editor.architecture()
    editor.value = "M-"
    assert editor.pattern == Pattern("M-")
    assert editor.cost().parameters.total == editor.architecture().parameters


def test_who_observes_finds_everything_new():
    editor, seen = Editor("M"), []
    editor.observe(lambda change: seen.append((change.new, str(editor.pattern), editor.state["text"])), "value")
    editor.value = "M-"
    editor.load("Llama-3 8B")
    editor.undo()
    assert [(value, pattern) for value, pattern, _ in seen] == [(text, text) for text in ("M-", "*-" * 32, "M-")]
    assert all(value == state for value, _, state in seen)


def test_patterns_and_sizes_are_taken():
    sizes = ModelSizes(hidden_size=128, num_attention_heads=8)
    editor = Editor(Pattern("*-"), sizes)
    assert (editor.value, editor.architecture().sizes) == ("*-", sizes)
    before = editor.state["facts"]
    editor.sizes = ModelSizes()
    assert editor.state["facts"] != before
    editor.undo()
    assert editor.sizes == sizes


def test_fuse_and_unfuse():
    editor = Editor("M-M-/*-/*-")
    editor.fuse(2)
    assert editor.value == "M-[M-]/*-/*-"
    editor.fuse(0, mtp=True)
    assert editor.value == "M-[M-]/[*-]/[*-]"
    editor.unfuse(3)
    editor.unfuse(1, mtp=True)
    assert editor.value == "M-M-/*-/*-"
    editor.fuse_all()
    assert editor.value == "[M-][M-]/[*-]/[*-]"
    editor.unfuse_all()
    assert editor.value == "M-M-/*-/*-"
    for sublayer, mtp, told in (
        (1, False, "sequence mixer, then"),
        (1, True, "no sub-layer 2"),
        (-1, True, "no sub-layer -1"),
    ):
        with pytest.raises(WorkbenchError, match=told):
            editor.fuse(sublayer, mtp=mtp)
    with pytest.raises(WorkbenchError, match="stands alone"):
        editor.unfuse(0, mtp=True)
    with pytest.raises(WorkbenchError, match="no multi-token prediction"):
        Editor("M-").fuse(0, mtp=True)


def test_brackets_are_removed_from_a_broken_text_too():
    editor = Editor("M[[-")
    editor.unfuse_all()
    assert editor.value == "M-"


def test_balance_places_stages():
    editor = Editor("M-M-M-M-/*-")
    editor.balance(2)
    assert editor.pattern.counts["stages"] == 2
    assert editor.value.endswith("/*-")


def test_a_preset_is_one_change_of_text_and_sizes():
    editor = Editor("M-")
    editor.load("Nemotron-H-56B")
    assert (editor.pattern, editor.sizes) == (preset("Nemotron-H-56B").pattern, preset("Nemotron-H-56B").sizes)
    editor.undo()
    assert (editor.value, editor.sizes) == ("M-", ModelSizes())
    editor.redo()
    assert editor.pattern.counts["sublayers"] == 118


def test_undo_goes_back_change_by_change():
    editor = Editor("M")
    editor.value = "M-"
    editor.fuse_all()
    editor.undo()
    editor.undo()
    assert editor.value == "M"
    editor.undo()
    assert editor.value == "M", "there is nothing before the first"
    editor.redo()
    editor.value = "E"
    editor.redo()
    assert editor.value == "E", "a new change forgets what was undone"


def test_writing_without_a_pause_is_one_change():
    history = History(Step("", ModelSizes()))
    for number, text in enumerate(("M", "M-", "M-M")):
        history.record(Step(text, ModelSizes()), written_at=0.1 * number)
    history.record(Step("M-M-", ModelSizes()), written_at=5)
    assert history.undo().text == "M-M"
    assert history.undo().text == ""
    assert history.redo().text == "M-M"


def test_a_command_carries_the_text_it_was_given_on():
    editor = Editor("M")
    heard(editor, do="fuse", sublayer=0, mtp=False, text="M-")
    assert editor.value == "[M-]"
    assert (editor.state["view"], editor.state["number"]) == ("v", 1)


def test_every_message_is_answered_even_when_nothing_changes():
    editor = Editor("M")
    heard(editor, do="write", text="M", number=7)
    assert editor.state["number"] == 7
    (notice,) = heard(editor, do="fuse", text="M", sublayer=0, mtp=False, number=8)
    assert "no sub-layer 1" in notice["notice"]
    assert editor.state["number"] == 8


@pytest.mark.parametrize("do", ["write", "undo", "redo", "fuse-all", "unfuse-all", "nonsense"])
def test_no_command_fails_on_any_text(do):
    for text in ("", "M[", "M-/*", "<script>", "\U0001f642"):
        heard(Editor("M-"), do=do, text=text)


def test_a_fix_is_taken_from_the_text_as_it_is():
    editor = Editor("M")
    heard(editor, do="mend", text="Mm", code="unknown-symbol", start=1)
    assert editor.value == "MM"
    (notice,) = heard(editor, do="mend", text="MM", code="unknown-symbol", start=1)
    assert notice["notice"] == "there is no unknown-symbol at 1 any more"


def test_the_selection_follows_its_block():
    editor = Editor("M-M-/*-")
    heard(editor, do="select", sublayers=[2], mtp=False)
    assert (editor.selected, editor.selected_mtp) == ((2,), False)
    assert "could" not in editor.graph["said"]
    editor.fuse(2)
    assert editor.selected == (2, 3)
    assert editor.graph["said"].startswith("Inside [M-], sub-layers 2–3")
    editor.value = "M["
    assert editor.selected == (2, 3), "a slip of the finger does not lose it"
    editor.value = "M"
    assert editor.selected is None
    assert editor.graph == {}
    heard(editor, do="select", sublayers=[0, 1], mtp=True)
    assert editor.selected_mtp is True
    with pytest.raises(traitlets.TraitError, match="canonical indices"):
        editor.selected = ("M",)


def test_the_picture_of_one_shows_the_pair_it_could_be():
    editor = Editor("-M-|-*E")
    said = []
    for index in range(6):
        editor.selected = (index,)
        said.append(editor.graph["said"].split(".")[0])
    assert said == [
        "Inside sub-layer 0", "Inside [M-], sub-layers 1–2", "Inside [M-], sub-layers 1–2", "Inside sub-layer 3",
        "Inside [*E], sub-layers 4–5", "Inside [*E], sub-layers 4–5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "name", "start"),
    [("svg", "pattern.svg", "<svg"), ("png", "pattern.png", "<svg"), ("report", "review.html", "<!doctype html>")],
)
def test_exports(form, name, start):  # fmt: skip
    (sent,) = heard(Editor(EXAMPLE), do="export", form=form)
    assert (sent["form"], sent["file"]["name"]) == (form, name)
    assert sent["file"]["text"].startswith(start)


def test_what_cannot_be_exported_is_said():
    assert "no picture" in heard(Editor(""), do="export", form="svg")[0]["notice"]
    assert "never closed" in heard(Editor("M["), do="export", form="svg")[0]["notice"]
    (sent,) = heard(Editor("ME", preset("Nemotron-H-8B").sizes), do="export", form="report")
    assert "Layer pattern" in sent["file"]["text"], "what the pattern alone says"


def test_a_bundle_has_the_widget_the_picture_and_the_text():
    data, _ = Editor("M[*-]")._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert data["text/plain"].startswith("M[*-]\n")
    assert '<img src="data:image/svg+xml;base64,' in data["text/html"]


def test_a_broken_text_stands_as_its_diagnostics_and_hostile_text_as_text():
    found = static.bundle('M"><img onerror=alert(1)>')
    assert "<img" not in found["text/html"]
    assert "^" in found["text/plain"]


def test_the_script_is_one_module_that_reads_no_markup():
    script = files.script()
    assert script.count("export default") == 1
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "DOMParser",
        "http:",
        "https:",
        "import ",
    ):
        assert way not in script
    assert "http" not in files.style()
    assert "@import" not in files.style()
