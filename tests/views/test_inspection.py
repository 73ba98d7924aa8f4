"""What a checkpoint is, as text, as a page and in a notebook; a stranger's names are shown and never run."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.render.hostile import TEXTS
from tests.render.pages import assert_self_contained
from workbench.arch.architecture import Architecture, Tensor
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.inspect import inspect
from workbench.checkpoint.inspection import Inspection, OptimizerStates, Preflight
from workbench.checkpoint.predicted import predicted
from workbench.render import html, notebook, scene, text
from workbench.views.inspection import document, mimebundle, verdict


def found(pattern: str = "M[*-]M[ME]/[*-]", against: str | None = None) -> Inspection:
    return inspect(predicted(Architecture(pattern, ModelSizes()).canonical()), against)


def shown(inspection: Inspection, unfold: bool = True) -> str:
    return text.render(document(inspection), 160, unfold=unfold)


def test_the_answer_comes_first():
    lines = [line for line in shown(found()).splitlines() if line]
    assert lines[1].startswith("✓ UNDERSTOOD: A hybrid model in the canonical layout, 6 sub-layers and 1 MTP depth, ")
    assert re.match(r"[\d,]+ parameters · \d+ tensors · ", lines[2])


def test_pattern_sizes_and_what_cannot_be_known():
    page = shown(found())
    for said in (
        "M*-MME/*-",
        "M[*-]M[ME]/[*-]",
        "names and shapes  embedding.word_embeddings.weight [128, 64]",
        "num_attention_heads × head_dim = 64",
        "it leaves no trace in names or shapes",
        "a GPT model",
    ):
        assert said in page, said


def test_tensors_are_folded_and_unfolded():
    assert "mixer.A_log" not in shown(found(), unfold=False).split("Tensors")[-1]
    page = shown(found())
    assert re.search(r"layers 0–4 +Mamba-2 +mixer\.A_log +\[8\] +float32 +3", page), page
    assert re.search(r"layer 5 +mixture of experts +mlp\.experts\.linear_fc1\.weight\* +\[128, 64\] +bfloat16 +4", page)


@pytest.mark.parametrize(
    ("against", "said"),
    [("M[*-]M[ME]/[*-]", "✓ WOULD LOAD: Into M[*-]M[ME]/[*-]: layer kinds are those of the model."), ("M-", "✗ WOULD NOT LOAD")],
)  # fmt: skip
def test_the_verdict(against, said):
    assert said in shown(found(against=against))


def test_contradictions_are_in_the_answer():
    odd = replace(found(), findings=("one thing", "another"))
    assert "✗ ODD" in shown(odd)
    assert "with 2 contradictions." in shown(odd)


def test_what_is_not_understood():
    other = inspect(predicted([Tensor("a", (3,), "float32")]))
    assert "– UNKNOWN: No name in it is one of a hybrid, GPT or transformers model." in shown(other)
    part = inspect(predicted([Tensor("decoder.layers.4.mixer.A_log", (3,), "float32")]))
    assert "– UNCLEAR" in shown(part)


def hostile(said: str) -> Inspection:
    plain = found(against="M-")
    return replace(
        plain,
        where=said,
        pattern_from=said,
        groups=(replace(plain.groups[0], place=said, name=said), *plain.groups),
        findings=(said,),
        notes=(said,),
        reasons=(said,),
        unnamed=(said,),
        sizes=(replace(plain.sizes[0], source=said, evidence=said, value=said), *plain.sizes),
        dtypes={said: 1},
        optimizer=OptimizerStates((said,), 1, 1),
        preflight=Preflight(said, "M-", "layer kinds", False, (said,), (said,)),
    )


@pytest.mark.parametrize("said", TEXTS, ids=range(len(TEXTS)))
def test_a_strangers_text_stays_text(said):
    inspection = hostile(said)
    page = html.render(document(inspection))
    assert_self_contained(page)
    assert "<script" not in page
    printed = shown(inspection)
    assert all(character.isprintable() or character in "\n\xa0" for character in printed)
    assert len(page) < 400_000
    bundle = mimebundle(inspection)
    assert "<script" not in bundle["text/html"]


def test_names_that_no_rule_knows_are_escaped_from_end_to_end():
    names = ["<script>alert(1)</script>", "decoder.layers.0.\x1b[31m.weight", "a\u202eb"]
    odd = inspect(predicted([Tensor(name, (3,), "float32") for name in names]))
    assert "\x1b" not in shown(odd)
    assert "<script" not in html.render(document(odd))


def test_the_same_checkpoint_gives_the_same_page():
    assert html.render(document(found())) == html.render(document(found()))


def test_a_notebook_shows_it():
    bundle = mimebundle(found())
    assert "✓ UNDERSTOOD" in bundle["text/plain"]
    assert "<img" in bundle["text/html"]
    assert notebook.render(document(found()))


def test_what_has_to_be_done_first_is_not_folded_away() -> None:
    """A checkpoint of fused names loads when it is converted: the verdict without that would mislead."""
    few = verdict(Preflight("M-", "M-", "layer kinds", True, notes=("convert it first",)))
    assert not any(isinstance(part, scene.Details) for part in few)
    many = verdict(Preflight("M-", "M-", "layer kinds", True, notes=tuple("abcd")))
    assert any(isinstance(part, scene.Details) for part in many)
