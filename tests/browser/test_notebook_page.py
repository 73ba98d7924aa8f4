"""Notebooks as pages: executed, made HTML that asks nothing of anybody, and really drawn by a browser."""

import re

import pytest
from nbconvert import HTMLExporter

from ..notebooks.running import COSTS, EDIT, FIRST, NOTEBOOKS, TEACHING, TRAINING, once
from .test_reports import CHROMIUM, read_png, screenshot

pytestmark = pytest.mark.browser

# What lab's template would load from a CDN: formulas, widgets and diagrams, of which the notebooks have none.
NOT_NEEDED = {"mathjax_url": "", "require_js_url": "", "jquery_url": "", "mermaid_js_url": ""}

MAMBA, ATTENTION = (0x00, 0x72, 0xB2), (0xC8, 0x4E, 0x00)


@pytest.fixture(scope="module", params=[EDIT, FIRST, COSTS, TEACHING, TRAINING])
def page(request):
    """An executed notebook as HTML."""
    (path,) = (path for path in NOTEBOOKS if path.stem == request.param)
    notebook = once(path)[0]
    exporter = HTMLExporter(template_name="lab", embed_images=True, **NOT_NEEDED)
    source, _ = exporter.from_notebook_node(notebook)
    return source


def test_page_needs_no_network(page):
    loaded = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)\s*=\s*["\']([^"\']*)', page)
    assert [address[:60] for address in loaded if address and not address.startswith("data:")] == []
    assert 'class="jp-Mermaid"' not in page, "no diagram, so the script that would load one never does"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_page_is_drawn(page, tmp_path):
    messages, picture = screenshot(page, tmp_path, dark=False)
    assert [message for message in messages if "ERR_" in message or "Refused" in message] == []
    pixels = read_png(picture)
    assert len(set(pixels)) > 50
    assert pixels.count(MAMBA) > 500, "Mamba's cells of the pattern are drawn"
    assert pixels.count(ATTENTION) > 200
