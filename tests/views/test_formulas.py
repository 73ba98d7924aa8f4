"""A reader of a report finds beside its formulas what every letter stands for."""

import re

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.presets import presets
from workbench.arch.sizes import ModelSizes
from workbench.cost.letters import LEGEND
from workbench.cost.summary import estimate
from workbench.pattern.symbols import SYMBOLS
from workbench.views.cost import document
from workbench.views.formulas import formulas

PATTERNS = ["M[*-]M[ME]G|M-*-/[*-]", "M[+E]|[GE]+-/+", "[D-]M|DE/D-", *SYMBOLS]
_OPTIONS = ModelSizes(hidden_dropout=0.1, attention_dropout=0.1, moe_shared_ffn=16, moe_latent_size=32)


def tables(cost):
    """What each folded table is called, and the table."""
    return {part.summary: part.parts[0] for part in formulas(cost)}


def letters_of(text):
    return set(re.findall(r"[a-z]+", text.removeprefix("backward only: "))) - {"min", "max"}


def assert_explained(cost):
    *told, legend = tables(cost).values()
    explained = {row[0] for row in legend.rows}
    columns = [[column.label for column in table.columns] for table in told]
    used = {letter for table in told for row in table.rows for letter in letters_of(row[2])}
    assert [labels[2] for labels in columns] == ["formula"] * 3
    assert explained == used
    assert all(row[1] == LEGEND[row[0]] and row[2] for row in legend.rows)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("sizes", [ModelSizes(), _OPTIONS], ids=["plain", "options"])
def test_every_letter_of_every_formula_is_explained(pattern, sizes):
    assert_explained(estimate(Architecture(pattern, sizes), sequence_length=256))


@pytest.mark.parametrize(
    "entry",
    [entry for entry in presets() if entry.expressible and entry.sizes and entry.sizes.vocab_size],
    ids=lambda entry: entry.name,
)
def test_of_every_preset(entry):
    assert_explained(estimate(entry.architecture()))


@pytest.mark.parametrize("recompute", ["full", "core_attn,mlp"])
def test_with_recompute(recompute):
    assert_explained(estimate("M[*-]M[ME]", recompute=recompute))


def test_values_are_those_that_were_put_in():
    cost = estimate("M[*-]G", sequence_length=256)
    *_, legend = tables(cost).values()
    values = {row[0]: row[2] for row in legend.rows}
    assert values["h"] == "64"
    assert values["keys"] == "128.5"
    assert values["c"] == "128 (Mamba-2), 64 (gated delta net)"


def test_a_formula_stands_once_a_kind():
    table = tables(estimate("MMM", sequence_length=256))["FLOPs: every formula"]
    assert len({row[:2] for row in table.rows}) == len(table.rows)
    assert {row[0] for row in table.rows} == {"Mamba-2", "output layer"}


def test_the_report_holds_them():
    section = next(part for part in document(estimate("M")).parts if getattr(part, "title", "") == "Formulas")
    assert [part.summary for part in section.parts] == [
        "FLOPs: every formula",
        "activations: every formula",
        "inference state: every formula",
        "letters of the formulas",
    ]
