"""The notebook of which pattern learns what: a quick run tells its story; its finding, on a shorter list, is trained for here."""

import pytest
import torch

from workbench import ModelSizes, TrainingSettings, open_data, sweep

from .running import LEARNING, NOTEBOOKS, code_cells, once, read, shown_text, stderr

(PATH,) = (path for path in NOTEBOOKS if path.stem == LEARNING)


@pytest.fixture(scope="module")
def notebook():
    return once(PATH)[0]


def test_it_tells_its_story(notebook):
    text = shown_text(notebook)
    for said in (
        "asked:    2 → 9,  6 → 16,  1 → 14,  5 → 11",
        "any of 16 values, all alike",
        "Equal parameters; test accuracy after 4 steps. Without a model: chance 0.062",
        "[G-][*-]  with attention     0 of 3 seeds at 0.99 and more",
        "Pure Mamba: accuracy against pairs",
        "Tokens until half of a state is forgotten",
    ):
        assert said in text
    assert stderr(notebook) == []


@pytest.mark.slow
def test_attention_recalls_what_pure_mamba_of_the_same_size_does_not():
    """The finding of the notebook with its own sizes and settings, 8 pairs, one seed, two patterns, fewer steps."""
    space = {"STEPS": 240, "torch": torch, "open_data": open_data}
    sources = [cell.source for cell in code_cells(read(PATH))]
    space["data"] = open_data("mqar:pairs=8,vocabulary=32", seed=1)
    for name in ("sizes = ModelSizes(", "settings = TrainingSettings("):
        (source,) = (source for source in sources if name in source)
        exec(source.partition("\nfound = ")[0], space)
    assert isinstance(space["sizes"], ModelSizes)
    assert isinstance(space["settings"], TrainingSettings)
    found = sweep(["MMMM", "M*MM"], space["data"], space["settings"], sizes=space["sizes"], seeds=(1,))
    assert found["M*MM"].quality("accuracy").low > 0.9
    assert found["MMMM"].quality("accuracy").high < 0.3
