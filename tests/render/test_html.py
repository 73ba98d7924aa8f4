import itertools
import json
from base64 import b64encode
from hashlib import sha256
from xml.etree import ElementTree

from workbench.render import html, notebook
from workbench.render.scene import (
    Banner,
    Bar,
    Browse,
    BrowseRow,
    Code,
    Column,
    Details,
    Document,
    Fact,
    Facts,
    Legend,
    LegendEntry,
    Note,
    Notes,
    Paragraph,
    Pick,
    Section,
    SideBySide,
    Status,
    Strip,
    StripCell,
    StripFrame,
    StripGroup,
    Table,
)

from .pages import Page, assert_self_contained
from .test_text import STRIP, TABLE

EVIL = "<script>alert(1)</script>\"'&\x1b"
EVIL_CELL = StripCell(EVIL, 0, "#0072B2", "#0072B2", True, EVIL)
PARTS = (
    Banner(Status("fail"), EVIL),
    Facts((Fact(EVIL, EVIL),)),
    Strip(EVIL, EVIL, (StripFrame(EVIL, (StripGroup((EVIL_CELL,), fused=True),)),)),
    Legend((LegendEntry(EVIL_CELL, EVIL),)),
    Section(EVIL, (Paragraph(EVIL), Notes((Note(EVIL, EVIL, EVIL),))), code=True),
    Section("Two", (Code(EVIL, EVIL), Details(EVIL, (Table((Column(EVIL),), ((EVIL,), (Bar(2, EVIL),)), EVIL),)))),
    Section("Three", (SideBySide((Section("A", (STRIP, TABLE)), Section("B", (Status("not-run", EVIL),)))),)),
)
DOCUMENT = Document(EVIL, PARTS, kind=EVIL)


def test_hostile_text_is_text_everywhere():
    page = assert_self_contained(html.render(DOCUMENT))
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "\x1b" not in html.render(DOCUMENT)


def test_hostile_text_is_text_in_a_notebook():
    source = notebook.render(DOCUMENT)
    assert "<script" not in source
    assert_self_contained(source)


def test_page_has_landmarks_policy_and_both_palettes():
    source = html.render(DOCUMENT)
    page = Page(source)
    assert source.startswith('<!doctype html>\n<html lang="en">')
    assert len(page.all("main")) == len(page.all("header")) == len(page.all("nav")) == len(page.all("h1")) == 1
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source


def test_navigation_leads_to_every_section():
    page = Page(html.render(DOCUMENT))
    targets = [link["href"] for link in page.all("a")]
    assert targets == [f"#{section['id']}" for section in page.all("section") if "id" in section]
    assert len(targets) == 3


def test_short_documents_have_no_navigation():
    assert not Page(html.render(Document("t", PARTS[:5]))).all("nav")


def test_tables_have_a_caption_and_column_headers():
    page = Page(html.render(DOCUMENT))
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert all(header["scope"] == "col" for header in page.all("th"))


def test_headings_nest_without_a_gap():
    levels = [int(tag[1]) for tag, _ in Page(html.render(DOCUMENT)).tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_status_has_a_word_and_a_shape():
    source = html.render(Document("t", tuple(map(Status, ("pass", "fail", "not-run")))))
    assert [word for word in ("passed", "failed", "not run") if word in Page(source).text] == [
        "passed",
        "failed",
        "not run",
    ]
    assert len({attributes["d"] for attributes in Page(source).all("path")}) == 3


def test_same_document_same_bytes():
    assert html.render(DOCUMENT) == html.render(DOCUMENT)


def test_notebook_picture_is_a_light_image_with_words():
    source = notebook.render(Document("t", (STRIP,)))
    (image,) = Page(source).all("img")
    assert image["alt"] == "strip: described"
    assert image["src"].startswith("data:image/svg+xml;base64,")
    assert "<svg" not in source
    assert "style" not in source


def test_notebook_tables_set_words_to_the_left_by_themselves():
    columns = (Column("what"), Column("much", "right"), Column("name", code=True))
    document = Document("t", (Table(columns, (("a", "1", "b"),), "said"),))
    cells = [
        (attributes.get("style"), attributes.get("class"))
        for tag in ("caption", "th", "td")
        for attributes in Page(notebook.render(document)).all(tag)
    ]
    left, right = ("text-align:left", None), (None, "right")
    assert cells == [left, left, right, left, ("text-align:left", "short"), right, left]
    assert "style=" not in html.render(document), "a page has its style sheet"


def test_page_is_well_formed():
    source = html.render(Document("t", PARTS))
    body = source[source.index("<body>") : source.index("</html>")].replace("<wbr>", "<wbr/>")
    ElementTree.fromstring(body)


def test_bars_are_shapes_with_their_number_beside_them():
    table = Table((Column("share"),), ((Bar(0.25, "25 %"),), (Bar(7.0, "too much"),)), "Bars.")
    source = html.render(Document("Title", (table,)))
    assert [rect["width"] for rect in Page(source).all("rect") if rect["class"] == "length"] == ["25", "100"]
    assert "25 %" in Page(source).text
    bare = notebook.render(Document("", (table,)))
    assert "<samp>██▌" + "\u00a0" * 7 + "</samp> 25 %" in bare, "blocks and spaces of one width"


BROWSE = Browse(
    (Column("verdict"), Column(EVIL, code=True), Column("far", "right")),
    (
        BrowseRow((Status("fail", EVIL), EVIL, "1e-07"), (None, None, 1e-7), (EVIL,), (Paragraph(EVIL),)),
        BrowseRow((Status("pass"), "b", "–"), (None, None, None), ("x",)),
    ),
    (Pick(EVIL, (EVIL, "x")),),
    EVIL,
    (EVIL, EVIL),
)


def test_a_table_to_look_through_is_a_table_and_hostile_text_is_text():
    source = html.render(Document("t", (Section("s", (BROWSE,)),)))
    page = assert_self_contained(source, scripts=1)
    assert len(page.all("tbody")) == 2, "a body a row, so that what it opens to stays with it"
    assert len(page.all("details")) == 1
    assert [cell["data-key"] for cell in page.all("td") if "data-key" in cell] == ["1e-07"]
    (root,) = (entry for entry in page.all("div") if entry.get("class") == "browse")
    assert json.loads(root["data-picks"]) == [[EVIL.replace("\x1b", "␛"), [EVIL.replace("\x1b", "␛"), "x"]]]
    assert "<script" not in notebook.render(Document("t", (BROWSE,)))


def test_the_policy_lets_our_script_run_and_no_other():
    source = html.render(Document("t", (BROWSE,)))
    script = source.split("<script>")[1].split("</script>")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    (policy,) = (meta["content"] for meta in Page(source).all("meta") if "http-equiv" in meta)
    assert policy == f"{html.POLICY}; script-src 'sha256-{digest}'"
    assert "<script" not in html.render(DOCUMENT), "a page without such a table has none"


def test_our_script_reads_no_markup():
    source = html.render(Document("t", (BROWSE,))).split("<script>")[1].split("</script>")[0]
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "DOMParser",
        "http",
        "fetch",
    ):
        assert way not in source
