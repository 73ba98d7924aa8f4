"""The design review: what it says of one design and of two, and that only a verdict speaks of equivalence."""

from dataclasses import replace

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.cost.summary import estimate
from workbench.pattern.model import Pattern
from workbench.render import html, text
from workbench.views.comparison import parting, summary
from workbench.views.evidence import about
from workbench.views.key_map import folded, key_map
from workbench.views.provenance import Provenance, digest
from workbench.views.report import document

from ..render.pages import assert_self_contained
from .verdicts import BAD, EMPTY, GOOD

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202e javascript:alert(1)'


def said(*args, **kwargs):
    return " ".join(text.render(document(*args, **kwargs), 200, unfold=True).split())


@pytest.fixture(scope="module")
def cost():
    return estimate("M[*-]")


# ------------------------------------------------------------------------------------------- the page


def test_every_part_is_there():
    page = assert_self_contained(html.render(document(estimate("M[*-]M[ME]|M-*-/[*-]"), against=estimate("M*-M"))))
    for heading in (
        *(
            "Verdict",
            "Two patterns",
            "Inside the blocks",
            "Worth a look",
            "Parameters",
            "FLOPs",
            "Pipeline stages",
            "Memory of each rank",
        ),
        *("Inference state", "Blocks", "Stored and built names", "Sizes and sources", "Formulas", "Provenance"),
    ):
        assert heading in page.text
    assert page.text.index("8 blocks") < page.text.index("10 sub-layers") < page.text.index("Verdict", 500)
    assert [len(page.all(tag)) for tag in ("header", "nav", "main", "h1")] == [1, 1, 1, 1]


def test_the_same_input_gives_the_same_bytes():
    first, second = (html.render(document(estimate("M[*E]|M-"), verdict=BAD)) for _ in range(2))
    assert first == second


def test_no_date_unless_it_is_given(cost):
    assert "date" not in said(cost).split("Provenance")[1].split()
    assert "2026-01-31" in said(cost, provenance=Provenance(date="2026-01-31"))


def test_a_preset_has_its_name_and_its_pattern():
    found = preset("llama-3-8b")
    page = document(estimate(found.architecture()), title=found.name, notes=found.sources)
    assert (page.title, page.code) == (found.name, False)
    assert str(found.pattern) in html.render(page)


def test_hostile_texts_are_texts(cost):
    check = replace(BAD.checks[2], name=HOSTILE, question=HOSTILE, summary=HOSTILE)
    environment = {"sizes": {HOSTILE: HOSTILE}, HOSTILE: {HOSTILE: [HOSTILE]}}
    verdict = replace(BAD, checks=(check,), environment=environment, left=replace(BAD.left, pattern=HOSTILE))
    for shown in (verdict, replace(verdict, left=GOOD.left)):
        page = assert_self_contained(
            html.render(
                document(cost, title=HOSTILE, verdict=shown, notes=(HOSTILE,), provenance=Provenance(HOSTILE, HOSTILE))
            )
        )
        assert not page.all("img")
        assert page.text.count("<script>alert(1)</script>") > 6
        assert "\u202e" not in page.text


def test_ten_thousand_characters(cost):
    assert_self_contained(html.render(document(cost, title="M" * 10_000, notes=("n" * 10_000,))))
    deep = estimate("M-" * 500)
    assert "1,000 sub-layers" in said(deep)


def test_every_distinct_block_is_drawn_and_every_fused_one_taken_apart():
    graph, *pairs = inside(document(estimate("M[*-][*-]M[ME]|M-/[*-]")))
    summaries = [part.summary for part in pairs]
    end = "beside the two layers that it is stored as"
    assert summaries == [f"[*-] {end}", f"[ME] {end}", f"MTP, [*-] {end}"]
    assert "7 blocks of 4 shapes" in graph.description


def inside(page):
    return next(part.parts for part in page.parts if getattr(part, "title", "") == "Inside the blocks")


# ----------------------------------------------------------------------------------------- the verdict


def test_without_a_verdict_nothing_is_claimed(cost):
    shown = said(cost)
    assert "No verdict was given: this report says nothing about equivalence." in shown
    assert "workbench verify 'M[*-]' --output verdict.json" in shown
    assert "EQUIVALENT" not in shown
    assert "--against 'M*-'" in said(cost, against=estimate("M*-"))


def test_a_verdict_about_this_pattern(cost):
    shown = said(cost, verdict=GOOD)
    assert "✓ EQUIVALENT: 2 of 2 checks passed, bitwise" in shown
    assert "It compared M[*-] with M*-." in shown
    assert "torch 2.9.0" in shown, "the environment"


def test_a_verdict_about_other_patterns():
    shown = said(estimate("M[*-]M"), verdict=GOOD)
    assert "ABOUT OTHER PATTERNS: It compared M[*-] with M*-. Neither is the pattern of this report" in shown
    assert "Only the other pattern of this report is among them" in said(
        estimate("M[*-]M"), against=estimate("M*-"), verdict=GOOD
    )


def test_a_verdict_about_another_twin(cost):
    assert "It is not about the other pattern of this report, M*-M." in said(
        cost, against=estimate("M*-M"), verdict=GOOD
    )


def test_a_verdict_at_other_sizes(cost):
    same = replace(GOOD, environment={"sizes": ModelSizes().to_json()})
    assert "other-sizes" not in said(cost, verdict=same)
    other = replace(GOOD, environment={"sizes": ModelSizes(hidden_size=128).to_json()})
    assert "other sizes: hidden_size 64 here, 128 there. hint: it shows" in said(cost, verdict=other)
    assert "It does not say with which sizes" in said(cost, verdict=EMPTY)


@pytest.mark.parametrize(("text", "is_it"), [("M[*-]", True), ("M|[*-]", True), ("M*-", True), ("M[*-]M", False)])
def test_about(text, is_it):
    assert about(GOOD, Pattern(text)) is is_it


def test_a_failed_verdict_shows_what_differs(cost):
    shown = said(cost, verdict=BAD)
    assert "✗ NOT EQUIVALENT: 2 of 5 checks passed" in shown
    assert "decoder.layers.1.self_attention.linear_qkv.weight sub-layer 1 value" in shown


# ------------------------------------------------------------------------------------ the other pattern

PARTINGS = {
    ("M-", "[M-]"): "",
    ("M-|M", "M-M"): "",
    ("M-M", "M-*"): "They part at sub-layer 2: Mamba-2 M here, self-attention * in the other pattern.",
    ("M-M", "M-"): "They part at sub-layer 2: this pattern goes on with Mamba-2 M, where the other one ends.",
    ("M-", "M-M"): "They part at sub-layer 2: the other pattern goes on with Mamba-2 M, where this one ends.",
    ("M/M", "M"): "The main sub-layers are the same; only this one has MTP.",
    ("M", "M/M"): "The main sub-layers are the same; only the other pattern has MTP.",
    (
        "M/M",
        "M/*",
    ): "The main sub-layers are the same; MTP parts at its sub-layer 0: Mamba-2 M here, self-attention * in the other pattern.",
    ("M/M", "M/M/M"): "The sub-layers are the same; MTP has 1 depth here, 2 in the other pattern.",
}


@pytest.mark.parametrize(("left", "right"), PARTINGS)
def test_where_they_part(left, right):
    assert parting(Pattern(left), Pattern(right)) == PARTINGS[left, right]


@pytest.mark.parametrize(
    ("left", "right", "what"),
    [
        ("[M-]M", "M-M", "They differ in fusion only: the same sub-layers in the same order, with the same sizes."),
        ("M-|M", "M-M", "They differ in stages only: "),
        ("[M-]|M", "M-M", "They differ in fusion and stages only: "),
        ("M/[M-]", "M/M-", "They differ in fusion only: "),
        ("M-", "M-", "The two patterns are one: "),
    ],
)
def test_what_differs(left, right, what):
    assert summary(estimate(left), estimate(right)).startswith(what)


def test_sizes_that_differ():
    wide = estimate(Architecture("M-", ModelSizes(hidden_size=128)))
    shown = said(estimate("M-"), against=wide)
    assert "They differ in sizes only: the same sub-layers in the same order. Whether" in shown
    assert "hidden_size 64 here, 128 there" in shown


def test_costs_are_compared(cost):
    shown = said(cost, against=estimate("M*-M"))
    assert "sub-layers 3 4 −25.00 %" in shown
    assert "fused pairs 1 0 –" in shown


# ------------------------------------------------------------------------------------------ the key map


@pytest.mark.parametrize("pattern", ["M[*-]M[ME]|M-*-/[*-]/[*-]", "[GE][+-]G+", "[D-]M"])
@pytest.mark.parametrize("backend", ["te", "local"])
def test_the_map_holds_every_weight(pattern, backend):
    """Every built and every stored name is one of those that a row stands for, and no row stands for more."""
    architecture = Architecture(pattern)
    pairs = list(architecture.built_and_canonical(backend))
    stored, built = set(), set()
    for part in key_map(architecture)[1:]:
        (table,) = part.parts
        for name, _, _, te, local in table.rows:
            te = name if te == "the same" else te
            stored |= expanded(name)
            built |= expanded(te if backend == "te" or local == "the same" else local)
    assert stored == {canonical.name for _, canonical in pairs}
    assert built == {tensor.name for tensor, _ in pairs}


def expanded(name):
    """What `folded` made one: names that list all their numbers."""
    start, brace, rest = name.partition("{")
    if not brace:
        return {name}
    numbers, _, end = rest.partition("}")
    return {found for number in numbers.split(",") for found in expanded(f"{start}{number}{end}")}


def test_shapes_and_dtypes_are_those_of_the_checkpoint():
    architecture = Architecture("[M-]")
    rows = {row[0]: row for part in key_map(architecture)[1:] for row in part.parts[0].rows}
    for tensor in architecture.canonical():
        assert rows[tensor.name][1:3] == ("×".join(map(str, tensor.shape)), tensor.dtype)


def test_long_lists_of_layers_are_shortened():
    assert folded([f"a.{number}.b" for number in range(0, 20, 2)]) == "a.{0,2,…,18}.b"
    assert folded(["a.b", "c.d"]) == "a.b"


def test_the_map_of_a_large_model_is_short():
    rows = [row for part in key_map(preset("nemotron-h-56b").architecture())[1:] for row in part.parts[0].rows]
    assert len(rows) < 30


def test_the_digest_is_of_all_that_makes_a_model():
    base = Architecture("M-")
    others = (Architecture("[M-]"), Architecture("M-", ModelSizes(hidden_size=128)), Architecture("M-", dtype="fp32"))
    assert digest(base) == digest(Architecture("M-"))
    assert len({digest(found) for found in (base, *others)}) == 4
