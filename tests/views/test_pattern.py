import subprocess
import sys

import pytest

from workbench import Pattern
from workbench.render import html, scene, text
from workbench.views.pattern import document, facts, legend, mimebundle, notes, strip

MODEL = "M[*-]M[ME]|M-*-/[*-]"


def test_whole_text_of_a_pattern():
    assert (
        text.render(document(Pattern(MODEL)))
        == """\
M[*-]M[ME]|M-*-/[*-]

8 blocks · 10 sub-layers · 2 fused pairs · 2 stages · 1 MTP depth

  stage 0             stage 1     MTP
  M [* -] M [M E]  │  M - * -  ┊  [* -]
  0  1 2  3  4 5      6 7 8 9      0 1

M Mamba-2 ×4 · * self-attention ×2, ×1 in MTP · - MLP ×3, ×1 in MTP · E mixture of experts ×1

Worth a look
  - unfused-pair: at 11–12: M- could be one block, [M-]: same model, same checkpoint
    hint: write [M-]
  - unfused-pair: at 13–14: *- could be one block, [*-]: same model, same checkpoint
    hint: write [*-]

Blocks
  Every block of the main pattern. layer_number is the canonical number, from 1, of its first
  sub-layer.
    block  layer_number  symbols  kind                          sub-layers  stage
    ─────  ────────────  ───────  ────────────────────────────  ──────────  ─────
        0             1  M        Mamba-2                                0      0
        1             2  [*-]     self-attention + MLP                 1–2      0
        2             4  M        Mamba-2                                3      0
        3             5  [ME]     Mamba-2 + mixture of experts         4–5      0
        4             7  M        Mamba-2                                6      1
        5             8  -        MLP                                    7      1
        6             9  *        self-attention                         8      1
        7            10  -        MLP                                    9      1

Multi-token prediction
  Every block of one MTP depth, built for 1 depth. MTP numbers its own layers, from 0.
    block  layer_number  symbols  kind                  sub-layers
    ─────  ────────────  ───────  ────────────────────  ──────────
        0             1  [*-]     self-attention + MLP         0–1

The same model, written otherwise
  Every pair fused:
    M[*-]M[ME]|[M-][*-]/[*-]

  Nothing fused, as checkpoints are written:
    M*-MME|M-*-/*-
"""
    )


@pytest.mark.parametrize("pattern", ["M", "-", "[M-]", MODEL, "M||M/", "", "/M/M", "M-" * 59])
def test_both_counts_come_first(pattern):
    page = document(Pattern(pattern))
    assert isinstance(page.parts[0], scene.Facts)
    assert [fact.label.rstrip("s") for fact in page.parts[0].entries] == [
        "block", "sub-layer", "fused pair", "stage", "MTP depth",
    ]  # fmt: skip
    assert html.render(page)


def test_counts_of_one_are_singular():
    said = [f"{fact.value} {fact.label}" for fact in facts(Pattern("[M-]")).entries]
    assert said == ["1 block", "2 sub-layers", "1 fused pair", "1 stage", "0 MTP depths"]


def test_strip_shows_every_sublayer_and_every_stage():
    shown = strip(Pattern("M[*-]||M/[*-]/[*-]"))
    assert [frame.label for frame in shown.frames] == ["stage 0", "stage 1", "stage 2", "MTP ×2"]
    assert [[len(group.cells) for group in frame.groups] for frame in shown.frames] == [[1, 2], [], [1], [2]]
    assert [frame.dashed for frame in shown.frames] == [False, False, False, True]
    assert shown.frames[0].groups[1].cells[1].title == "sub-layer 2: MLP, block 1"
    assert shown.description == "3 blocks, 4 sub-layers, 1 fused pair, 3 stages, 2 MTP depths"


def test_sequence_mixers_are_filled_and_channel_mixers_outlined():
    (frame,) = strip(Pattern("MG*-E")).frames
    assert [group.cells[0].filled for group in frame.groups] == [True, True, True, False, False]


def test_legend_counts_main_and_mtp_apart():
    said = [entry.text for entry in legend(Pattern("MM-/*-")).entries]
    assert said == ["Mamba-2 ×2", "self-attention ×1 in MTP", "MLP ×1, ×1 in MTP"]


def test_three_unfused_pairs_are_three_notes_and_four_are_one():
    assert len(notes(Pattern("M-M-M-")).entries) == 3
    (note,) = notes(Pattern("M-M-M-M-")).entries
    assert note.text == "4 pairs could each be one block: same model, same checkpoint"
    assert str(Pattern("M-M-M-M-").fused()) in text.render(document(Pattern("M-M-M-M-")))


def test_folding_keeps_other_warnings():
    codes = [note.code for note in notes(Pattern("M-M-M-M-||M")).entries]
    assert codes == ["empty-stage", "unfused-pair"]


def test_empty_pattern_is_a_warning_and_nothing_else():
    page = text.render(document(Pattern("")))
    assert page == (
        "(empty pattern)\n\n0 blocks · 0 sub-layers · 0 fused pairs · 1 stage · 0 MTP depths\n\n"
        "Worth a look\n  - empty-pattern: at 0: the main pattern has no layers\n    hint: write a layer, such as M\n"
    )


def test_notebook_shows_counts_and_a_picture():
    bundle = Pattern(MODEL)._repr_mimebundle_()
    assert bundle == mimebundle(Pattern(MODEL))
    assert set(bundle) == {"text/plain", "text/html"}
    assert "8 blocks · 10 sub-layers" in bundle["text/plain"]
    assert "<b>8</b> blocks · <b>10</b> sub-layers" in bundle["text/html"]
    assert bundle["text/html"].count("<img ") == 1


def test_a_pattern_imports_its_view_only_when_it_is_shown():
    program = (
        "import sys, workbench; p = workbench.Pattern('M[*-]'); before = 'workbench.views.pattern' in sys.modules; "
        "p._repr_mimebundle_(); print(before, 'workbench.views.pattern' in sys.modules, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["False", "True", "False"]


def test_folding_shows_what_repeats_inside_a_stage_once():
    shown = strip(Pattern("M-M-M-*-|[M-][M-][M-][M-]M/M-M-M-"), fold=True)
    first, second, mtp = shown.frames
    repeat, *rest = first.groups
    assert (repeat.times, repeat.first, repeat.last, len(repeat.groups)) == (3, 0, 5, 2)
    assert [group.text for group in rest] == ["*", "-"]
    assert rest[0].cells[0].index == 6, "indices stay canonical"
    assert (second.groups[0].times, second.groups[0].first, second.groups[0].last) == (4, 8, 15)
    assert (mtp.groups[0].times, mtp.groups[0].first, mtp.groups[0].last) == (3, 0, 5)
    assert shown.description == strip(Pattern("M-M-M-*-|[M-][M-][M-][M-]M/M-M-M-")).description


@pytest.mark.parametrize("pattern", ["M-*E", "MM", "", "M||M"])
def test_folding_changes_nothing_where_nothing_repeats(pattern):
    assert strip(Pattern(pattern), fold=True) == strip(Pattern(pattern))


def test_no_repeat_is_too_long_for_a_line():
    unit = "M-M*-E" * 3 + "G-"
    shown = strip(Pattern(unit * 3), fold=True)
    assert all(len(entry.groups) <= 16 for entry in shown.frames[0].groups if isinstance(entry, scene.StripRepeat))
