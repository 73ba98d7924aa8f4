from xml.etree import ElementTree

import pytest

from workbench.render.escape import columns, markup, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("M[*-]", "M[*-]"),
        ("a\x1b[31mred", "a␛[31mred"),
        ("a\u202eb", "a�b"),
        ("a\udcffb", "a�b"),
        ("a\uffffb\ufffe", "a�b�"),
        ("a\U0001ffff\ufdd0", "a��"),
        ("two\nlines", "two\nlines"),
        ("\x00\x7f", "␀␡"),
    ],
)
def test_no_control_character_is_shown(text, shown):
    assert visible(text) == shown


def test_one_line_has_one_line():
    assert one_line("a\r\nb\tc") == "a␍␊b␉c"


def test_markup_is_escaped_for_elements_and_attributes():
    assert markup("""<img onerror='x' src="y">&""") == "&lt;img onerror=&#x27;x&#x27; src=&quot;y&quot;&gt;&amp;"


def test_columns_of_wide_and_combining_characters():
    assert columns("層M") == 3
    assert columns("é") == 1


def test_a_drawing_of_any_text_is_well_formed():
    for code in (*range(0x250), 0x202E, 0xD800, 0xFDD0, 0xFFFE, 0xFFFF, 0x1FFFF, 0x10FFFF):
        ElementTree.fromstring(f'<text title="{markup(chr(code))}">{markup(chr(code))}</text>')
