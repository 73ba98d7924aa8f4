"""The design review in a real browser: no request, no message, nothing that axe-core objects to, all of it on paper."""

import pytest

from workbench.arch.presets import preset
from workbench.cost.summary import estimate
from workbench.render import html
from workbench.views.report import document

from ..views.verdicts import BAD, GOOD
from .test_reports import CHROMIUM

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]

LONG = preset("nemotron-h-56b")
REVIEWS = {
    "two patterns": lambda: document(estimate("M[*-]"), against=estimate("M*-"), verdict=GOOD),
    "all there is": lambda: document(estimate("M[*-]M[ME]|M-*-/[*-]"), against=estimate("M*-|M*"), verdict=BAD),
    "failed": lambda: document(estimate("M[*-]"), verdict=BAD),
    "a long model": lambda: document(estimate(LONG.architecture()), title=LONG.name, notes=LONG.sources),
}
OPEN_ALL = "document.querySelectorAll('details').forEach(details => details.open = true)"
# What closed details hold and is drawn nevertheless.
DRAWN = """[...document.querySelectorAll('details:not([open]) > :not(summary)')]
    .filter(element => element.checkVisibility({contentVisibilityAuto: true})).length"""
WIDE, NARROW = {"width": 1200, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviews")
    for name, build in REVIEWS.items():
        (folder / f"{name}.html").write_text(html.render(build()), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in REVIEWS}


@pytest.fixture
def visit(open_page):
    """Open a page, as wide as a laptop's unless told otherwise."""
    return lambda address, **options: open_page(address, **{"viewport": WIDE, **options})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", REVIEWS)
def test_asks_for_nothing_and_says_nothing(visit, addresses, name, scheme):
    page = visit(addresses[name], color_scheme=scheme)
    page.evaluate(OPEN_ALL)
    page.wait_for_load_state("networkidle")
    assert page.requests == [page.url]
    assert page.messages == []


def test_a_request_and_a_script_would_be_noticed(visit, addresses, tmp_path):
    """The twin of the test above: what the policy refuses is said on the console."""
    source = html.render(REVIEWS["failed"]())
    broken = source.replace("<main>", '<main><img alt="" src="http://127.0.0.1:9/x.png"><script>1</script>')
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    page = visit((tmp_path / "broken.html").as_uri())
    assert len([text for text in page.messages if "Content Security Policy" in text]) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", REVIEWS)
def test_axe_finds_nothing(visit, addresses, name, scheme):
    """With every detail open, so that what it holds is looked at too. Only axe's own script needs the policy lifted."""
    page = visit(addresses[name], color_scheme=scheme, bypass_csp=True)
    page.evaluate(OPEN_ALL)
    found = axe.Axe().run(page)
    assert [(entry["id"], entry["nodes"][0]["html"][:200]) for entry in found.response["violations"]] == []


def test_axe_would_find_something(visit, tmp_path):
    (tmp_path / "bad.html").write_text("<title>t</title><p style='color:#999;background:#aaa'>pale</p>")
    found = axe.Axe().run(visit((tmp_path / "bad.html").as_uri()))
    assert {"color-contrast", "html-has-lang"} <= {entry["id"] for entry in found.response["violations"]}


def test_the_keyboard_reaches_every_table_and_detail(visit, addresses):
    page = visit(addresses["two patterns"])
    wanted = page.evaluate("[...document.querySelectorAll('.table, summary')].filter(e => e.checkVisibility()).length")
    reached = 0
    for _ in range(wanted + 60):
        page.keyboard.press("Tab")
        reached += page.evaluate("document.activeElement.matches('.table, summary')")
        if page.evaluate("document.activeElement === document.body"):
            break
    assert wanted > 15
    assert reached == wanted


def test_the_keyboard_opens_a_detail_and_shows_where_it_is(visit, addresses):
    page = visit(addresses["two patterns"])
    closed = page.locator("details:not([open]) > summary").first
    closed.focus()
    page.keyboard.press("Enter")
    assert page.locator("details[open] > summary:focus").count() == 1
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_every_link_leads_somewhere(visit, addresses):
    page = visit(addresses["all there is"])
    for link in page.locator("nav a").all():
        target = page.locator(link.get_attribute("href"))
        assert target.locator("h2").inner_text() == link.inner_text()


@pytest.mark.parametrize("name", REVIEWS)
def test_paper_shows_what_is_folded(visit, addresses, name):
    page = visit(addresses[name], color_scheme="dark", viewport={"width": 690, "height": 900})
    assert page.evaluate(DRAWN) == 0
    page.emulate_media(media="print")
    folded = page.locator("details:not([open]) > :not(summary)").count()
    assert folded > 5
    assert page.evaluate(DRAWN) == folded
    assert page.evaluate(
        "[...document.querySelectorAll('td')].every(cell => cell.checkVisibility({checkVisibilityCSS: true}))"
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("name", REVIEWS)
def test_paper_cuts_nothing_off(visit, addresses, name):
    """690 pixels are what A4 leaves between the margins."""
    page = visit(addresses[name], viewport={"width": 690, "height": 900})
    page.emulate_media(media="print")
    wide = page.evaluate(
        "[...document.querySelectorAll('table, svg, pre, p, h1')].filter(e => e.getBoundingClientRect().right > 691)"
        ".map(e => e.outerHTML.slice(0, 300) + e.getBoundingClientRect().right)"
    )
    assert wide == []


@pytest.mark.parametrize("name", REVIEWS)
def test_a_narrow_screen_scrolls_tables_and_not_the_page(visit, addresses, name):
    page = visit(addresses[name], viewport=NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
