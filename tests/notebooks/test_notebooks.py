"""The working notebooks hold no outputs, run top to bottom without a word on stderr, and say what they promise."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from workbench import Pattern

from .running import FIRST, NOTEBOOKS, code_cells, executed, once, outputs, read, shown_text, stderr

EVERY = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
(FIRST_PATH,) = (path for path in NOTEBOOKS if path.stem == FIRST)

LINES = 9  # of code in a cell, empty ones not counted


@pytest.fixture(scope="module")
def first():
    """The first notebook, run once, and the folder that it ran in."""
    return once(FIRST_PATH)


@EVERY
def test_no_outputs(path):
    for cell in code_cells(read(path)):
        assert (cell.outputs, cell.execution_count, dict(cell.metadata)) == ([], None, {})


@EVERY
def test_metadata_is_minimal_and_ids_are_stable(path):
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    # What nbstripout writes, so that it never has anything to change.
    assert [cell.id for cell in notebook.cells] == [str(number) for number in range(len(notebook.cells))]


@EVERY
def test_cells_are_short(path):
    for cell in code_cells(read(path)):
        lines = [line for line in cell.source.splitlines() if line]
        assert len(lines) <= LINES, cell.source
        assert max(map(len, lines)) <= 120, cell.source


@EVERY
def test_runs_without_a_word_on_stderr(path):
    notebook, folder = once(path)
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    assert stderr(notebook) == []
    assert list(folder.iterdir()) == [], "it leaves nothing where it runs"


def test_a_word_on_stderr_and_a_left_file_would_be_noticed(tmp_path):
    cell = new_code_cell("import warnings\nwarnings.warn('a word')\nopen('left', 'w').close()")
    (tmp_path / "run").mkdir()
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "noisy.ipynb")
    notebook = executed(tmp_path / "noisy.ipynb", tmp_path / "run")
    assert "a word" in stderr(notebook)[0]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["left"]


def test_first_notebook_tells_the_whole_story(first):
    text = shown_text(first[0])
    for said in (
        "✓ EQUIVALENT: 10 of 10 checks passed, bitwise",
        "error group-order at 2–3",
        "MoETransformerLayer  MambaMixerAsAttention  MoELayer",
        "equal bits: 8,192 of 8,192; max abs difference: 0.0",
        "hybrid_block.HybridStack: equal bits: 8,192 of 8,192",
        "Losses; the same in 20 of 20 steps.",
        "decoder.layers.0.mixer.norm.weight[0]: 1.0 -> 1.0000001192092896",
        "✗ failed: 1 difference, in sub-layer 0, Mamba-2: decoder.layers.0.mixer.norm.weight",
    ):
        assert said in text
    assert "Traceback" not in text


def test_first_notebook_fails_once_and_is_whole_again(first):
    broken, mended = map(shown, code_cells(first[0])[-2:])
    assert (broken.count("✓ passed"), broken.count("✗ failed")) == (1, 2)
    assert (mended.count("✓ passed"), mended.count("✗ failed")) == (2, 0)


def test_first_notebook_shows_pictures(first):
    html = [output.get("data", {}).get("text/html", "") for output in outputs(first[0])]
    assert sum(part.count("<img") for part in html) == 3, "the pattern, and the twins of the verdict"


@pytest.mark.parametrize("pattern", ["[G-][*E]", "[M-]*-|-M/[*-]/[*-]", "M"])
def test_first_notebook_takes_another_pattern(pattern, tmp_path):
    notebook = executed(FIRST_PATH, tmp_path, pattern)
    text = shown_text(notebook)
    assert "✓ EQUIVALENT: 10 of 10 checks passed, bitwise" in text
    assert f"{len(Pattern(pattern).blocks)} block" in text
    assert "✗ failed: 1 difference, in sub-layer 0" in text
    assert stderr(notebook) == []


def shown(cell):
    return "\n".join(output.get("text") or output.data["text/plain"] for output in cell.outputs)
