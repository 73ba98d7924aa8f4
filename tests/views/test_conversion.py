"""A conversion as text and as parts: what came of it, names folded, hostile names as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.checkpoint.conversion import Converted, End, Renamed
from workbench.render import text
from workbench.views import conversion as view
from workbench.views.conversion import document, folded, headline, mimebundle

from ..render.hostile import TEXTS
from ..render.pages import assert_self_contained

SOURCE = End("gpt/iter_0000012", "torch_dist", "gpt", "distributed", "local", "*-*-", 6, 2**21)
TARGET = End("hybrid", "torch_dist", "canonical", "distributed", None, "*-*-", 9, 2**21)
MAPPING = (
    Renamed("embedding.word_embeddings.weight", ("embedding.word_embeddings.weight",)),
    *(
        Renamed(
            f"decoder.layers.{layer}.self_attention.linear_proj.weight",
            ("decoder.layers.self_attention.linear_proj.weight",),
        )
        for layer in (0, 2)
    ),
    Renamed("decoder.final_norm.weight", ("decoder.final_layernorm.weight",)),
)
DONE = Converted(
    source=SOURCE,
    target=TARGET,
    mapping=MAPPING,
    files=("__0_0.distcp", ".metadata", "metadata.json"),
    dry_run=False,
    verified=True,
    seconds=1.5,
    copied_bytes=2**20,
    gathered_bytes=2**20,
    notes=("a note",),
)
DRY = replace(DONE, dry_run=True, verified=False, files=(), copied_bytes=0, gathered_bytes=0)


def test_headlines():
    assert headline(DONE) == (
        "✓ CONVERTED: 9 tensors, 2.00 MiB, gpt to canonical: read again, and every bit is the source's (1.50 s)"
    )
    assert headline(DRY) == "– DRY RUN: 9 tensors, 2.00 MiB, gpt to canonical: nothing was written"
    same = replace(DONE, source=replace(SOURCE, layout="canonical", format="safetensors"))
    assert "2.00 MiB, safetensors to torch_dist: " in headline(same)


def test_the_text_of_one():
    shown = text.render(document(DONE), 100)
    assert "layout   gpt (distributed, local names)  canonical (distributed)" in shown
    assert "put together from pieces        1.00 MiB" in shown
    assert "- a note" in shown
    assert "decoder.final_layernorm.weight" not in shown  # folded, until it is asked for
    unfolded = text.render(document(DONE), 120, unfold=True)
    assert "3 tensors have another name" in unfolded
    assert (
        "decoder.layers.self_attention.linear_proj.weight  decoder.layers.<i>.self_attention.linear_proj.weight        2"
        in unfolded
    )
    assert "the same name                                     embedding.word_embeddings.weight" in unfolded


def test_a_dry_run_shows_the_names_and_no_bytes():
    shown = text.render(document(DRY), 120, unfold=True)
    assert "decoder.layers.<i>.self_attention.linear_proj.weight" in shown
    assert "How the bytes" not in shown


def test_numbers_of_layers_and_experts_are_folded_and_no_others():
    rows = folded(
        Renamed(
            f"decoder.layers.{layer}.mlp.experts.linear_fc{fc}.weight{expert}", (f"old.{layer}.linear_fc{fc}.weight",)
        )
        for layer in range(3)
        for fc in (1, 2)
        for expert in range(4)
    )
    assert rows == [
        (f"old.<i>.linear_fc{fc}.weight", f"decoder.layers.<i>.mlp.experts.linear_fc{fc}.weight<i>", 12)
        for fc in (1, 2)
    ]
    assert folded([Renamed("a", ("b", "c")), Renamed("d", ())]) == [("b + c", "a", 1), ("–", "d", 1)]


def test_many_rows_are_counted(monkeypatch):
    monkeypatch.setattr(view, "MOST_ROWS", 1)
    assert "<i> is a number; 2 more rows in JSON." in text.render(document(DONE), 120, unfold=True)


@pytest.mark.parametrize("said", TEXTS, ids=range(len(TEXTS)))
def test_names_of_strangers_are_text(said):
    end = replace(SOURCE, where=said, pattern=said)
    done = replace(DONE, source=end, target=end, mapping=(Renamed(said, (said + "x",)),), notes=(said,))
    shown = mimebundle(done)
    assert_self_contained(shown["text/html"])
    assert not {"\x1b", "\0", "\u202e", "\u2066"} & set(shown["text/html"] + shown["text/plain"])
    assert "\x1b" not in text.render(document(done), 80, unfold=True)


def test_a_notebook_shows_it():
    import workbench

    assert workbench.Converted is Converted
    shown = DONE._repr_mimebundle_()
    assert shown == mimebundle(DONE)
    assert "CONVERTED" in shown["text/html"]
