"""The gallery shows what the code draws today, and lists every picture that it has."""

from __future__ import annotations

import re

import pytest

from tests.browser.gallery import DRAWINGS, GALLERY, MEASURED, PICTURES, draw


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    draw(folder)
    return folder


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_the_one_that_the_code_draws(drawn, name):
    """Fails after a change of the look: `make gallery` draws anew."""
    assert (GALLERY / name).read_bytes() == (drawn / name).read_bytes()


def test_the_page_lists_what_is_there():
    listed = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (GALLERY / "README.md").read_text(encoding="utf-8"))
    there = {path.name for path in GALLERY.iterdir()} - {"README.md"}
    assert sorted(listed) == sorted(there) == sorted([*DRAWINGS, *PICTURES, *MEASURED])
