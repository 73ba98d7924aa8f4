import itertools

import pytest

from workbench import Pattern
from workbench.arch.presets import preset
from workbench.errors import WorkbenchError
from workbench.pattern.symbols import SYMBOLS
from workbench.render import scene, text
from workbench.views.drawing import document
from workbench.views.graph import block_graph, graph

MODEL = Pattern("M[*-]M[ME]|M-*-/[*-]/[*-]")


def shown(panel, kind):
    return [node for node in panel.nodes if node.kind == kind and node.shown]


def test_a_fused_block_stands_beside_the_two_layers_that_it_is():
    first, second, fused = block_graph(MODEL, 1).panels
    assert [panel.label for panel in (first, second, fused)] == [
        "unfused · layer 1",
        "unfused · layer 2",
        "fused · layers 1–2",
    ]
    assert [panel.fused for panel in (first, second, fused)] == [False, False, True]
    assert [panel.turns for panel in (first, second, fused)] == [False, False, True]
    assert [node.text for node in shown(first, "slot")] == ["MLP slot: empty"]
    assert [node.text for node in shown(second, "slot")] == ["mixer slot: empty"]
    assert shown(fused, "slot") == []
    for panel, mixers in ((first, ["attention"]), (second, ["MLP"]), (fused, ["attention", "MLP"])):
        assert [node.text for node in shown(panel, "mixer")] == mixers
        for kind in ("norm", "join", "add"):
            assert len(shown(panel, kind)) == len(mixers)


def test_layers_are_canonical_and_their_weights_named():
    fused = block_graph(MODEL, 3).panels[2]
    assert [(node.index, node.title) for node in shown(fused, "mixer")] == [
        (4, "Mamba-2, stored as layers.4.mixer.*"),
        (5, "mixture of experts, stored as layers.5.mlp.*"),
    ]
    assert [node.tag for node in shown(fused, "norm")] == ["layers.4", "layers.5"]


def test_a_mamba_layer_has_no_slot_to_be_empty():
    """Upstream's `MambaLayer` is no `TransformerLayer`; the picture does not claim a slot that is not there."""
    first, second, _ = block_graph(MODEL, 3).panels
    assert shown(first, "slot") == []
    assert [node.text for node in shown(first, "remark")] == ["MambaLayer: no slot"]
    assert first.notes == ("a MambaLayer",)
    assert [node.text for node in shown(second, "slot")] == ["mixer slot: empty"]


def test_the_stream_runs_through_every_panel_unbroken():
    for panel in [*graph(MODEL).panels, *block_graph(MODEL, 1).panels]:
        stream = [edge for edge in panel.edges if edge.stream]
        assert stream[0].tail == "start"
        assert stream[-1].head == "end"
        assert all(edge.shown for edge in stream)
        for before, after in itertools.pairwise(stream):
            assert before.head == after.tail
        assert {edge.tail for edge in panel.edges} | {edge.head for edge in panel.edges} == {
            node.name for node in panel.nodes
        }


def test_brackets_do_not_change_the_picture_of_a_pair():
    by_layers = block_graph(Pattern("M*-"), sublayers=(1, 2))
    assert by_layers == block_graph(Pattern("M[*-]"), sublayers=(1, 2)) == block_graph(Pattern("M[*-]"), 1)


def test_one_layer_is_one_panel():
    for found in (block_graph(MODEL, 0), block_graph(MODEL, sublayers=(0,))):
        (panel,) = found.panels
        assert panel.label == "unfused · layer 0"


def test_mtp_counts_its_own():
    found = block_graph(MODEL, 0, mtp=True)
    assert [panel.label for panel in found.panels][2] == "fused · MTP layers 0–1"
    assert all(panel.dashed for panel in found.panels)


@pytest.mark.parametrize("first", [symbol for symbol, row in SYMBOLS.items() if row.role == "sequence mixer"])
@pytest.mark.parametrize("second", "-E")
def test_every_pair_has_its_picture(first, second):
    fused = block_graph(Pattern(f"[{first}{second}]"), 0).panels[2]
    filled = [(node.text, node.filled) for node in shown(fused, "mixer")]
    assert filled == [(SYMBOLS[first].short, True), (SYMBOLS[second].short, False)]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((8,), {}, "there is no block 8: there are 8 blocks, from 0"),
        ((-1,), {}, "there is no block -1"),
        ((), {}, "say which"),
        ((0,), {"sublayers": (0,)}, "say which"),
        ((), {"sublayers": (1, 99)}, "there is no sub-layer 99: there are 10 sub-layers, from 0"),
        ((), {"sublayers": ()}, "one or two sub-layers, not 0"),
        ((), {"sublayers": (0, 1)}, "sub-layers 0 and 1 cannot share a block"),
        ((), {"sublayers": (1, 1)}, "cannot share a block"),
        ((), {"sublayers": (2, 1)}, "cannot share a block"),
    ],
)
def test_what_is_not_there_is_an_error(arguments, options, message):
    with pytest.raises(WorkbenchError, match=message):
        block_graph(MODEL, *arguments, **options)


def test_a_pair_across_stages_is_no_block():
    with pytest.raises(WorkbenchError, match="cannot share"):
        block_graph(Pattern("M|-"), sublayers=(0, 1))


def test_no_mtp_is_an_error():
    with pytest.raises(WorkbenchError, match="no MTP"):
        block_graph(Pattern("M"), 0, mtp=True)


def test_every_shape_once_with_how_many_and_where():
    found = graph(MODEL)
    labels = [panel.label for panel in found.panels]
    assert labels == ["M ×3", "[*-] ×1", "[ME] ×1", "- ×2", "* ×1", "MTP · in front", "MTP [*-] ×1"]
    assert found.panels[0].notes == ("Mamba-2", "sub-layers 0, 3, 6")
    assert found.panels[1].notes == ("self-attention + MLP", "sub-layers 1–2")
    assert found.panels[4].notes == ("self-attention", "sub-layer 8")
    assert [panel.dashed for panel in found.panels] == [False] * 5 + [True] * 2
    assert found.description == "8 blocks of 5 shapes, and 1 block in each MTP depth"


def test_mtp_starts_with_its_norms_and_its_projection():
    front = graph(MODEL).panels[5]
    assert [node.text for node in shown(front, "box")] == ["enorm", "hnorm", "eh_proj: 2h → h"]
    assert "each of 2 depths" in front.notes[0]


def test_118_sublayers_stay_readable():
    found = graph(preset("nemotron-h-56b").pattern)
    assert [panel.label for panel in found.panels] == ["M ×54", "- ×54", "* ×10"]
    assert max(len(note) for panel in found.panels for note in panel.notes) <= 36
    assert found.panels[0].notes[1].endswith("… 116")
    assert ", 114, 116" in found.panels[0].title, "the title has all of them"


def test_an_empty_pattern_has_no_panels():
    assert graph(Pattern("")).panels == ()


def test_page_has_both_views_or_the_one_that_was_asked_for():
    def kinds(page):
        inner = [entry for part in page.parts for entry in (part.parts if isinstance(part, scene.Section) else (part,))]
        return [type(part).__name__ for part in inner]

    assert kinds(document(MODEL)) == ["Facts", "Strip", "Legend", "Paragraph", "Graph"]
    assert kinds(document(MODEL, "strip")) == ["Facts", "Strip", "Legend"]
    assert kinds(document(MODEL, "graph")) == ["Facts", "Paragraph", "Graph"]
    assert "×3" in text.render(document(Pattern("M-M-M-"), "strip", fold=True))
