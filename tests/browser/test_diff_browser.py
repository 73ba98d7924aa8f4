"""The diff browser in a real JupyterLab: found, filtered and opened, details computed live; and what is left without a kernel."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from nbconvert import HTMLExporter

from .jupyter import read, run
from .test_notebook_page import NOT_NEEDED

pytestmark = pytest.mark.browser

MAKE = """\
from tests.views.diffs import DIFFERENT
from workbench.ui.diff_browser import DiffBrowser
browser = DiffBrowser(DIFFERENT)
browser"""
LATER = "print(browser.detail and browser.detail.name)"
VALUE = "decoder.layers.2.mlp.linear_fc1.weight"


@pytest.fixture(scope="module")
def page(lab):
    """One notebook with a browser, and a cell that reads it."""
    page = lab.open(MAKE, LATER)
    page.locator(".wb-diff").wait_for()
    return page


@pytest.fixture(autouse=True)
def fresh(request):
    if "page" in request.fixturenames:
        page = request.getfixturevalue("page")
        if page.get_by_role("button", name="show all").is_visible():
            page.get_by_role("button", name="show all").click()


def names(page):
    return page.locator(".wb-table > table > tbody > tr:first-child > td:nth-child(2)").all_inner_texts()


def row(page, name):
    return page.locator(".wb-diff").get_by_role("button", name=name, exact=True)


# ------------------------------------------------------------------------------------------------------


def test_it_says_what_differs(page):
    shown = page.locator(".wb-diff").inner_text()
    assert "✗ DIFFERENT" in shown
    assert "9 differences in 46 tensors" in shown
    assert "Sub-layers 1 and 2 are one block on the right" in shown
    assert len(names(page)) == 10


def test_search_and_filters(page):
    page.get_by_role("searchbox", name="search").fill("mixer")
    assert names(page) == ["decoder.layers.0.mixer.A_log", "decoder.layers.0.mixer.dt_bias"]
    page.get_by_role("searchbox", name="search").fill("")
    page.get_by_label("verdict").select_option(label="shape (1)")
    assert names(page) == ["decoder.layers.3.mlp.router.weight"]
    page.get_by_label("verdict").select_option(label="all")
    page.get_by_label("kind of layer").select_option(label="MLP (2)")
    assert [name.split(".")[-2] for name in names(page)] == ["linear_fc1", "pre_mlp_layernorm"]
    assert page.locator(".wb-diff [role=status]").inner_text() == "2 of 10 differences"


def test_columns_sort(page):
    page.get_by_role("button", name="max abs").click()
    assert names(page)[:2] == ["decoder.layers.0.mixer.A_log", VALUE]


def test_a_row_is_opened_with_the_keyboard_and_its_details_come_from_python(page):
    row(page, VALUE).focus()
    page.keyboard.press("Enter")
    picture = page.locator(".wb-look img").first
    picture.wait_for()
    assert picture.get_attribute("alt").startswith(f"Where {VALUE} differs: ")
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 200
    look = page.locator(".wb-look:has(img)").inner_text()
    assert "10⁻⁷ to 10⁻⁶" in look
    assert "0.10009765625" in look
    assert read(page, 1) == VALUE
    assert page.locator(".jp-Cell").count() == 2, "no key reached JupyterLab"
    row(page, VALUE).click()
    assert row(page, VALUE).get_attribute("aria-expanded") == "false"


def test_a_look_that_fails_says_why(lab):
    gone = """\
from dataclasses import replace
from tests.views.diffs import DIFFERENT
from workbench.errors import WorkbenchError
from workbench.ui.diff_browser import DiffBrowser
def look(name):
    raise WorkbenchError("<b>a.safetensors</b> is gone")
DiffBrowser(replace(DIFFERENT, look=look))"""
    page = lab.open(gone)
    row(page, VALUE).click()
    page.locator(".wb-notice", has_text="<b>a.safetensors</b> is gone").wait_for()
    page.context.close()


def test_a_thousand_rows_of_hostile_text_are_text(lab):
    many = """\
from dataclasses import replace
from tests.render.hostile import TEXTS
from tests.views.diffs import MANY, VALUE
from workbench.ui.diff_browser import DiffBrowser
DiffBrowser(replace(MANY, differences=MANY.differences + tuple(replace(VALUE, name=text) for text in TEXTS), groups=()))"""
    page = lab.open(many)
    page.locator(".wb-diff").wait_for()
    assert len(names(page)) == 100
    page.get_by_role("button", name="show 100 more of 4,900").click()
    assert len(names(page)) == 200
    page.get_by_role("searchbox", name="search").fill("layers.4321.")
    assert len(names(page)) == 1
    page.context.close()
    page = lab.open(many.replace("MANY.differences + ", ""))
    page.locator(".wb-diff").wait_for()
    assert len(names(page)) == 12
    assert page.locator(".wb-diff :is(script, iframe, img, b)").count() == 0
    assert page.errors == []
    page.context.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(lab, dark):
    page = lab.open(MAKE, LATER, dark=dark)
    row(page, VALUE).click()
    page.locator(".wb-look img").first.wait_for()
    found = Axe().run(page, context=".wb-diff").response
    assert [(entry["id"], entry["nodes"][0]["html"]) for entry in found["violations"]] == []
    page.context.close()


def test_no_request_leaves_the_machine(page):
    outside = [url for url in page.requests if "//127.0.0.1" not in url and not url.startswith(("data:", "blob:"))]
    assert outside == []
    assert page.errors == []


def test_a_reopened_notebook_shows_the_table_and_no_state_is_saved(lab):
    page = lab.open(MAKE, LATER)
    page.locator(".wb-diff").wait_for()
    run(page, "docmanager:save")
    saved = json.loads(page.notebook.read_text(encoding="utf-8"))
    assert "widgets" not in saved["metadata"]
    still, live = saved["cells"][0]["outputs"]
    assert "".join(still["data"]["text/plain"]).startswith("Two checkpoints compared")
    assert "application/vnd.jupyter.widget-view+json" in live["data"]
    assert not page.locator(".wb-static").is_visible(), "while the browser lives"
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.context.close()
    source, _ = HTMLExporter(template_name="lab", **NOT_NEEDED).from_filename(str(page.notebook))
    assert "unpkg" not in source
    assert "9 differences in 46 tensors" in source
    later = lab.browser.new_page()
    later.notebook = page.notebook
    lab.show(later)
    later.locator(".wb-static").get_by_text("What was compared.").wait_for()
    assert later.locator(".wb-diff").count() == 0, "the kernel and its browser are gone"
    later.close()
