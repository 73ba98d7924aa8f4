from workbench.render import text
from workbench.render.escape import columns
from workbench.render.scene import (
    Banner,
    Bar,
    Code,
    Column,
    Details,
    Document,
    Fact,
    Facts,
    Note,
    Notes,
    Paragraph,
    Section,
    SideBySide,
    Status,
    Strip,
    StripCell,
    StripFrame,
    StripGroup,
    Table,
)


def cell(symbol, index, filled=True):
    return StripCell(symbol, index, "#0072B2", "#0072B2", filled, f"sub-layer {index}")


PAIR = StripGroup((cell("*", 9), cell("-", 10, filled=False)), fused=True)
STRIP = Strip(
    "strip",
    "described",
    (
        StripFrame("stage 0", (StripGroup((cell("M", 8),)), PAIR)),
        StripFrame("stage 1", ()),
        StripFrame("MTP ×2", (StripGroup((cell("M", 0),)),), dashed=True),
    ),
)


def rendered(*parts, width=60, unfold=False):
    return text.render(Document("Title", parts), width, unfold)


def test_every_part():
    page = rendered(
        Banner(Status("fail", "NOT EQUAL"), "1 of 2"),
        Facts((Fact("8", "blocks"), Fact("1", "stage"))),
        Section("Part", (Paragraph("Words."), Status("not-run"), Code("x\ny", "A file"))),
        Notes((Note("said", "a-code", "do this"),)),
        SideBySide((Section("One", (Paragraph("1"),)), Section("Two", (Paragraph("2"),)))),
    )
    assert (
        page
        == """\
Title

✗ NOT EQUAL: 1 of 2

8 blocks · 1 stage

Part
  Words.

  – not run

  A file:
    x
    y

- a-code: said
  hint: do this

One
  1

Two
  2
"""
    )


def test_closed_details_are_left_out_unless_unfolded():
    details = Details("More", (Paragraph("hidden"),))
    assert rendered(details) == "Title\n"
    assert rendered(details, unfold=True) == "Title\n\nMore\n  hidden\n"
    assert "hidden" in rendered(Details("More", (Paragraph("hidden"),), open=True))


def test_strip_names_stages_and_puts_the_index_below():
    assert (
        rendered(STRIP)
        == """\
Title

  stage 0      stage 1     MTP ×2
  M [*  -]  │           ┊  M
  8  9 10                  0
"""
    )


def test_strip_is_wrapped_and_never_wider_than_the_page():
    groups = tuple(StripGroup((cell("M", index),)) for index in range(200))
    page = rendered(Strip("s", "d", (StripFrame("stage 0", groups),)), width=72)
    assert max(map(len, page.splitlines())) <= 72
    assert page.count("M") == 200
    assert page.count("stage 0") == 1


TABLE = Table(
    (Column("name", code=True), Column("what it is"), Column("n", "right")),
    (
        ("decoder.layers.3.mixer.A_log", "three words here", "1,024"),
        ("層", Status("pass"), "7"),
    ),
    "Caption.",
)


def test_table_fits_its_cells():
    assert (
        rendered(TABLE, width=100)
        == """\
Title

Caption.
  name                          what it is            n
  ────────────────────────────  ────────────────  ─────
  decoder.layers.3.mixer.A_log  three words here  1,024
  層                            ✓ passed              7
"""
    )


def test_narrow_table_wraps_and_keeps_every_character():
    page = rendered(TABLE, width=44)
    assert max(columns(line) for line in page.splitlines()) <= 44
    assert "1,024" in page
    assert "decoder.layers.3.  three" in page, "a long name is broken after a dot"
    assert "mixer.A_log\n" in page


def test_hostile_text_cannot_reach_the_terminal():
    page = rendered(
        Paragraph("\x1b]0;owned\x07"), Table((Column("\x1b[2J"),), (("a\nb\x1b[0m",),), "\u202e"), Code("\x9b31m")
    )
    assert not any(character in page for character in "\x1b\x07\u202e\x9b")


def test_code_keeps_what_stands_below_what():
    lines = rendered(Code("  M[-*]\n\n    ^^")).splitlines()
    pattern, carets = lines[-3], lines[-1]
    assert carets.index("^") == pattern.index("-")


def test_same_document_same_text():
    assert rendered(STRIP, TABLE) == rendered(STRIP, TABLE)


def test_bars_are_as_long_as_their_share():
    columns = (Column("stage"), Column("cost"))
    table = Table(columns, tuple((str(share), Bar(share, "said")) for share in (0, 0.001, 0.5, 1.0, 7)), "Bars.")
    assert [line.rstrip() for line in rendered(table).splitlines()[5:]] == [
        "  0      " + "\u00a0" * 11 + "said",
        "  0.001  ▏" + "\u00a0" * 10 + "said",
        "  0.5    █████" + "\u00a0" * 6 + "said",
        "  1.0    ██████████\u00a0said",
        "  7      ██████████\u00a0said",
    ]
