import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.cost.balance import balance
from workbench.cost.ranks import Parallel
from workbench.cost.stages import best_stages
from workbench.cost.summary import estimate
from workbench.render import html, scene, text
from workbench.views import balance as balance_view
from workbench.views.cost import block_table, document, flops_table, formulas, mimebundle, rank_table

from ..render.pages import assert_self_contained

MODEL = "M[*-]M[ME]|M-*-/[*-]"


def lines(part):
    return text.render(scene.Document("", (part,)), 120, unfold=True).replace("\u00a0", " ").splitlines()


def test_flops_by_kind_sum_to_all():
    cost = estimate(MODEL, sequence_length=256)
    rows = flops_table(cost).rows
    assert [row[0] for row in rows] == [
        "Mamba-2",
        "self-attention",
        "MLP",
        "mixture of experts",
        "output layer",
        "multi-token prediction",
        "all",
    ]
    assert rows[-1][3] != "–"
    assert rows[-2][3] == "–", "MTP does not decode"


def test_ranks_with_virtual_stages_name_them():
    table = rank_table(estimate("M|M|M|M", parallel=Parallel(pipeline=2), sequence_length=64))
    assert [column.label for column in table.columns][:2] == ["rank", "stages"]
    assert [row[1] for row in table.rows] == ["0, 2", "1, 3"]
    assert "stages" not in [column.label for column in rank_table(estimate("M|M")).columns]


def test_every_block_has_its_row():
    cost = estimate(MODEL, sequence_length=256, recompute="full")
    rows = block_table(cost).rows
    assert [row[1] for row in rows] == [str(block) for block in cost.architecture.pattern.blocks]
    assert [row[3] for row in rows] == ["0"] * 4 + ["1"] * 4
    # Under full recompute a block keeps its input and next to nothing else.
    assert {row[7] for row in rows} == {"32.0 KiB"}


def test_every_formula_stands_beside_its_name_and_source():
    said = "\n".join(line for part in formulas(estimate(MODEL, sequence_length=256)) for line in lines(part))
    for words in ("2·h·", "megatron/core/", "Mamba-2", "arXiv"):
        assert words in said


def test_a_document_has_every_section_and_the_notes():
    page = document(estimate(MODEL, sequence_length=256), "A model", ("a caveat",))
    said = text.render(page, 100)
    order = [
        "A model",
        "FLOPs",
        "Pipeline stages",
        "Memory of each rank",
        "Inference state",
        "About this model",
        "a caveat",
    ]
    places = [said.index(words) for words in order]
    assert places == sorted(places)
    assert_self_contained(html.render(page))


def test_one_stage_has_no_section():
    assert "Pipeline stages" not in text.render(document(estimate("M")), 100)


def test_no_line_of_text_is_too_long():
    for name in ("deepseek-v3", "nemotron-h-56b"):
        page = document(estimate(preset(name).architecture(), parallel=Parallel(pipeline=2)), name)
        assert max(map(len, text.render(page, 100).splitlines())) <= 100


def test_a_notebook_shows_the_same_numbers():
    cost = estimate(MODEL, sequence_length=256)
    shown = mimebundle(cost)
    assert shown["text/html"].count("<img") == 1
    assert f"{cost.parameters.total:,}" in shown["text/html"]
    assert f"{cost.parameters.total:,}" in shown["text/plain"]


def test_the_repr_of_a_cost_uses_the_view():
    import workbench

    cost = workbench.estimate(workbench.Architecture(MODEL, ModelSizes()), sequence_length=256)
    assert cost._repr_mimebundle_() == mimebundle(cost)


# ------------------------------------------------------------------------------------------- balance


def test_a_placement():
    found = best_stages(Architecture("M[*-]M[ME]"), 2, by="parameters")
    said = text.render(balance_view.document(found), 100).replace("\u00a0", " ")
    for words in (
        "2 stages",
        "efficiency without bubbles",
        "M[*-]M|[ME]",
        "1F1B step: m micro-batches take m + 1 turns",
    ):
        assert words in said


@pytest.mark.parametrize("pattern", ["", "M"])
def test_nothing_costs_nothing(pattern):
    found = balance(pattern, 2, [0] * len(pattern))
    assert "100.0 %" in text.render(balance_view.document(found), 100)


def test_a_notebook_shows_a_placement():
    found = balance("MM", 2, [1, 2])
    assert "stage 1 is the slowest" in balance_view.mimebundle(found)["text/plain"]
    assert "cost  of the slowest" in balance_view.mimebundle(found)["text/plain"]


def test_a_placement_knows_what_its_costs_count():
    shown = balance_view.mimebundle(best_stages(Architecture("MM"), 2))["text/plain"]
    assert "training FLOPs a token  of the slowest" in shown
