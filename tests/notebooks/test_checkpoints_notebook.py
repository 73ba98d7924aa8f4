"""The checkpoints notebook: both runs equal, one wrong bit found, a stranger's file understood, names changed and no bit."""

import pytest

from .running import CHECKPOINTS, NOTEBOOKS, executed, once, shown_text, stderr

(PATH,) = (path for path in NOTEBOOKS if path.stem == CHECKPOINTS)


@pytest.fixture(scope="module")
def notebook():
    return once(PATH)[0]


def test_it_tells_its_story(notebook):
    text = shown_text(notebook)
    for said in (
        "✓ IDENTICAL: 138 tensors, 581,976 elements: identical bits",
        "blocks of a fused model (M[*-]M[ME]), the right as hybrid sub-layers",
        "46 of 46 tensors differ in values",
        "False\nTrue",
        "✗ DIFFERENT: 1 difference in 138 tensors: 1 value",
        "output_layer.weight differs: 1 of 8,192 elements, by up to 1.86e-09, relative 6.88e-08, 1 ULP",
        "sub-layers 0 and 4 are swapped",
        "cut.safetensors is cut short",
        "G[*-][M-]",
        "sub-layer 0 is Mamba-2, and the checkpoint holds gated delta net there",
        "trap.pt asks for __builtin__.print",
        "read again, and every bit is the source's",
        "cannot become a GPT model's",
    ):
        assert said in text
    # The source says it once, in the cell; a trap that went off would say it in an output.
    assert "this must never be seen" not in text
    assert stderr(notebook) == []


def test_it_takes_another_pattern(tmp_path):
    text = shown_text(executed(PATH, tmp_path, "[G-][*E][G-]"))
    assert text.count("✗ DIFFERENT: 1 difference in ") == 2  # as a table, and in the browser
    assert "sub-layers 0 and 4 are swapped" in text
