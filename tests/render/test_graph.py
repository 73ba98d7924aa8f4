from xml.etree import ElementTree

import pytest

from workbench import Pattern
from workbench.errors import WorkbenchError
from workbench.pattern.symbols import SYMBOLS
from workbench.render import engine, graph_dot, html, notebook, text
from workbench.render.colour import DARK, LIGHT, contrast
from workbench.render.escape import one_line
from workbench.render.graph import fitted, svg
from workbench.render.graph_layout import SIZES, place
from workbench.render.scene import Document, Graph
from workbench.views.graph import block_graph, graph

from .hostile import TEXTS, graph_of, strip_of
from .pages import Page, assert_self_contained

SVG = "{http://www.w3.org/2000/svg}"
MODEL = Pattern("M[*-]M[ME]|M-*-/[*-]")
PAIR = block_graph(MODEL, 1)


def spots(panel):
    return place(panel).spots


@pytest.mark.parametrize("panel", PAIR.panels, ids=lambda panel: panel.label)
def test_the_stream_is_straight_and_runs_down(panel):
    found = spots(panel)
    stream = [found[name] for name in ("start", "tap0", "add0", "tap1", "add1", "end")]
    assert len({x for x, _ in stream}) == 1
    assert [y for _, y in stream] == sorted(y for _, y in stream)


@pytest.mark.parametrize("panel", PAIR.panels, ids=lambda panel: panel.label)
def test_branches_are_one_column_right_of_the_stream_level_with_where_they_meet_it(panel):
    found = spots(panel)
    column = {found[f"{name}{half}"][0] for name in ("norm", "mixer", "join") for half in (0, 1)}
    assert len(column) == 1
    assert column.pop() - SIZES["mixer"][0] / 2 > found["tap0"][0] + SIZES["add"][0] / 2
    for half in (0, 1):
        assert found[f"norm{half}"][1] == found[f"tap{half}"][1]
        assert found[f"join{half}"][1] == found[f"add{half}"][1]


def test_empty_slots_keep_the_panels_level():
    assert len({tuple(sorted(spots(panel).items())) for panel in PAIR.panels}) == 1


def test_panels_of_one_structure_are_laid_out_once(monkeypatch):
    place(PAIR.panels[2])
    monkeypatch.setattr("workbench.render.graph_layout.draw", lambda *_: pytest.fail("laid out again"))
    place(block_graph(Pattern("[GE]"), 0).panels[2])


@pytest.mark.parametrize("theme", ["light", "dark", "adaptive"])
def test_drawing_is_well_formed_named_and_the_same_again(theme):
    source = svg(PAIR, theme, ground=True)
    root = ElementTree.fromstring(source)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "Inside [*-], sub-layers 1–2"
    assert "layers.1 and layers.2" in root.find(f"{SVG}desc").text
    assert svg(block_graph(MODEL, 1), theme, ground=True) == source


def test_drawing_says_everything_in_words():
    root = ElementTree.fromstring(svg(PAIR))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for wanted in ("UNFUSED · LAYER 1", "UNFUSED · LAYER 2", "FUSED · LAYERS 1–2"):
        assert wanted in texts
    assert texts.count("MLP slot: empty") == texts.count("mixer slot: empty") == 1
    assert texts.count("attention") == texts.count("MLP") == 2
    assert texts.count("norm") == texts.count("bias-dropout-add") == 4
    assert texts.count("layers.1") == texts.count("layers.2") == 2


def test_sequence_mixers_are_filled_and_channel_mixers_outlined():
    root = ElementTree.fromstring(svg(PAIR))
    boxes = {
        group.get("class"): group.find(f"{SVG}rect").get("fill")
        for group in root.iter(f"{SVG}g")
        if (group.get("class") or "").startswith("cell")
    }
    assert boxes == {"cell filled": "#C84E00", "cell outlined": "none"}


@pytest.mark.parametrize("width", [300, 600, 1000])
def test_nothing_leaves_the_drawing(width):
    root = ElementTree.fromstring(svg(graph(MODEL), width=width))
    left, top, wide, high = map(float, root.get("viewBox").split())
    assert wide <= max(width, 400), "one panel alone may be wider"
    for box in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        assert left <= x
        assert x + w <= left + wide
        assert top <= y
        assert y + h <= top + high


@pytest.mark.parametrize("paper", [LIGHT, DARK], ids=["light", "dark"])
def test_words_can_be_read_on_a_panel(paper):
    assert contrast(paper.quiet, paper.raised) >= 4.5
    for row in SYMBOLS.values():
        if row.role == "channel mixer":
            assert contrast(row.light if paper is LIGHT else row.dark, paper.raised) >= 4.5


def test_a_page_shows_it_inline_and_a_notebook_as_an_image():
    document = Document("t", (PAIR,))
    page = assert_self_contained(html.render(document))
    assert len([one for one in page.all("svg") if one.get("class") == "graph"]) == 1
    assert "--c:#9AA7B8" in html.render(document)
    shown = notebook.render(document)
    (image,) = Page(shown).all("img")
    assert image["alt"].startswith("Inside [*-], sub-layers 1–2: Unfused, self-attention and MLP")
    assert "<svg" not in shown


def test_whole_text():
    assert text.render(Document("t", (PAIR,)), 100) == (
        """\
t

  unfused · layer 1        unfused · layer 2            fused · layers 1–2
  │                        │                            │
  ├─ norm  layers.1        │                            ├─ norm  layers.1
  │  ■ attention           │  ┆ mixer slot: empty ┆     │  ■ attention
  ⊕─ bias-dropout-add      │                            ⊕─ bias-dropout-add
  │                        ├─ norm  layers.2         →  ├─ norm  layers.2
  │  ┆ MLP slot: empty ┆   │  □ MLP                     │  □ MLP
  │                        ⊕─ bias-dropout-add          ⊕─ bias-dropout-add
  ▼                        ▼                            ▼
  a TransformerLayer       a TransformerLayer           one full TransformerLayer
"""
    )


def test_text_is_wrapped_between_panels():
    lines = text.render(Document("t", (graph(MODEL),)), 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert sum("▼" in line for line in lines) >= 3


@pytest.mark.parametrize("hostile", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("part", [graph_of, strip_of])
def test_hostile_text_is_text_in_pages_notebooks_and_terminals(hostile, part):
    document = Document(hostile, (part(hostile),), kind=hostile)
    page = assert_self_contained(html.render(document))
    assert one_line(hostile)[:8] in page.text.replace("\n", "")
    assert_self_contained(notebook.render(document))
    shown = text.render(document, 100)
    assert not set(shown) & set("\0\x1b\x0b\u202e\u2066\u200f\uffff\ud800")
    if part is graph_of:
        assert max(map(len, shown.splitlines()[1:])) <= 200


@pytest.mark.parametrize("hostile", TEXTS, ids=range(len(TEXTS)))
def test_hostile_text_is_text_in_dot(hostile):
    """Graphviz reads the DOT, and what it then draws says the same words."""
    source = graph_dot.source(graph_of(hostile))
    shown = engine.draw(source, "svg").decode()
    root = ElementTree.fromstring(shown)
    assert "<script" not in shown
    assert "<img" not in shown
    links = [value for element in root.iter() for name, value in element.items() if name.endswith("href")]
    assert links == []
    said = "".join(root.itertext()).replace("\u00a0", " ")
    assert one_line(hostile)[:300] in said
    for line in source.splitlines():
        assert "URL" not in line
        assert "image=" not in line


def test_dot_has_a_cluster_a_panel_and_is_the_same_again():
    source = graph_dot.source(PAIR)
    assert source.count("subgraph cluster_") == 3
    assert source == graph_dot.source(block_graph(MODEL, 1))
    assert source != graph_dot.source(PAIR, "dark")
    assert "bias-dropout-add" in "".join(ElementTree.fromstring(engine.draw(source, "svg")).itertext())


def test_no_engine_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(engine, "_library", lambda: None)
    monkeypatch.setenv("PATH", "")
    strange = Graph("t", "d", (block_graph(Pattern("M"), 0).panels[0], graph_of("a").panels[0]))
    from workbench.render.graph_layout import _placed

    _placed.cache_clear()
    with pytest.raises(WorkbenchError, match="drawing needs Graphviz"):
        svg(strange)


def test_long_words_are_cut_to_their_box():
    assert fitted("x" * 10_000, 100, 10) == "x" * 9 + "…"
    assert fitted("層" * 100, 100, 10) == "層" * 4 + "…"
