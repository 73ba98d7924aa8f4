"""The page of a diff in a real browser: found, filtered, sorted and opened; no request, no message, nothing for axe-core."""

import pytest

from workbench.render import html
from workbench.views.diff_page import page as diff_page

from ..render.hostile import TEXTS
from ..views.diffs import ALL, DIFFERENT, IDENTICAL, MANY, OTHER_NAMES, VALUE
from ..views.test_diff import hostile
from .test_reports import CHROMIUM

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]

PAGES = {
    "different": DIFFERENT,
    "identical": IDENTICAL,
    "other names": OTHER_NAMES,
    "many": MANY,
    "hostile": hostile(TEXTS[0] + TEXTS[1] + TEXTS[3]),
}
OPEN_ROWS = "[...document.querySelectorAll('.browse-open')].slice(0, 12).forEach((button) => button.click())"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffs")
    for name, diff in PAGES.items():
        (folder / f"{name}.html").write_text(html.render(diff_page(diff)), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in PAGES}


@pytest.fixture
def visit(open_page, addresses):
    """Open one of the pages by its name."""
    return lambda name, **options: open_page(addresses[name], **{"viewport": WIDE, **options})


def names(page):
    """The names of the rows that are shown, in order."""
    return page.locator(".browse > .table > table > tbody > tr:first-child > td:nth-child(2)").all_inner_texts()


def status(page):
    return page.get_by_role("status").inner_text()


# ------------------------------------------------------------------------------------------------------


def test_words_are_found_wherever_they_stand(visit):
    page = visit("different")
    assert status(page) == "10 differences"
    field = page.get_by_label("search")
    field.fill("MLP weight")
    assert names(page) == [entry.name for entry in ALL if "mlp" in entry.name and "weight" in entry.name]
    assert status(page) == "3 of 10 differences"
    field.fill("0.100342")
    assert names(page) == [VALUE.name], "what a row opens to is searched too"
    field.fill("nothing has this")
    assert (names(page), status(page)) == ([], "0 of 10 differences")
    page.get_by_role("button", name="show all").click()
    assert len(names(page)) == 10
    assert field.input_value() == ""


def test_filters_say_how_many_and_go_together(visit):
    page = visit("different")
    page.get_by_label("verdict").select_option("value (3)")
    assert len(names(page)) == 3
    page.get_by_label("kind of layer").select_option(label="Mamba-2 (3)")
    assert names(page) == ["decoder.layers.0.mixer.A_log", "decoder.layers.0.mixer.dt_bias"]
    page.get_by_label("search").fill("bias")
    assert status(page) == "1 of 10 differences"


def test_columns_sort_numbers_as_numbers_and_the_third_click_goes_back(visit):
    page = visit("different")
    before = names(page)
    button = page.get_by_role("button", name="mismatched")
    head = page.locator("th", has=button)
    button.click()
    assert names(page)[:3] == [VALUE.name, "decoder.layers.0.mixer.A_log", "decoder.layers.0.mixer.dt_bias"]
    assert head.get_attribute("aria-sort") == "descending"
    button.click()
    assert names(page)[0] == "embedding.word_embeddings.weight"
    assert names(page)[-1] == before[-1], "what has no number stays last"
    button.click()
    assert names(page) == before
    assert head.get_attribute("aria-sort") == "none"
    page.get_by_role("button", name="name").click()
    assert names(page) == sorted(before)


def test_a_row_opens_to_its_details_by_key_and_by_click(visit):
    page = visit("different")
    button = page.get_by_role("button", name=VALUE.name)
    assert button.get_attribute("aria-expanded") == "false"
    assert not page.get_by_text("0.100342 on the right").is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    assert page.get_by_text("0.100342 on the right").is_visible()
    opened = page.locator(f"#{button.get_attribute('aria-controls')}")
    assert opened.get_by_role("img", name="Where decoder.layers.2").is_visible()
    assert "10⁻⁷ to 10⁻⁶" in opened.inner_text()
    assert "0.10009765625" in opened.inner_text()
    page.locator(".browse").get_by_text("sub-layer 2, MLP", exact=True).first.click()
    assert button.get_attribute("aria-expanded") == "false"


def test_an_opened_row_stays_with_its_name_wherever_it_is_sorted_to(visit):
    page = visit("different")
    button = page.get_by_role("button", name=VALUE.name)
    button.click()
    page.get_by_role("button", name="max rel").click()
    page.get_by_label("search").fill("linear_fc1")
    assert button.get_attribute("aria-expanded") == "true"
    assert page.get_by_text("0.100342 on the right").is_visible()


def test_a_thousand_rows_a_hundred_at_a_time(visit):
    page = visit("many")
    assert len(names(page)) == 100
    page.get_by_role("button", name="show 100 more of 900").click()
    assert len(names(page)) == 200
    page.get_by_label("search").fill("layers.77")
    assert status(page) == "11 of 1,000 differences"
    assert "4,000 are not shown here" in page.locator(".browse caption").first.inner_text()


def test_without_a_script_it_is_a_table(visit):
    page = visit("different", java_script_enabled=False)
    assert page.locator(".browse tbody > tr > td > code").count() >= 10
    assert page.get_by_role("searchbox").count() == 0
    page.locator(".browse details summary").nth(5).click()
    assert page.get_by_text("on the left").first.is_visible()


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("different", "light"), ("different", "dark"), ("identical", "dark"), ("other names", "dark"), ("many", "light")],
)
def test_axe_finds_nothing(visit, name, scheme):
    """With rows opened, so that what they hold is looked at too. Only axe's own script needs the policy lifted."""
    page = visit(name, color_scheme=scheme, bypass_csp=True)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    page.evaluate(OPEN_ROWS)
    found = axe.Axe().run(page)
    assert [(entry["id"], entry["nodes"][0]["html"][:200]) for entry in found.response["violations"]] == []


@pytest.mark.parametrize("name", PAGES)
def test_asks_for_nothing_and_says_nothing(visit, name):
    page = visit(name)
    page.evaluate(OPEN_ROWS)
    page.wait_for_load_state("networkidle")
    assert (page.requests, page.messages) == ([page.url], [])
    assert page.locator("img, iframe, main script").count() == 0


def test_another_script_would_not_run_and_be_noticed(visit, addresses, tmp_path):
    """The twin of the test above: what the policy refuses is said on the console."""
    source = html.render(diff_page(DIFFERENT)).replace("<main>", "<main><script>document.title = 'mine'</script>")
    (tmp_path / "broken.html").write_text(source, encoding="utf-8")
    page = visit("identical")
    page.goto((tmp_path / "broken.html").as_uri())
    assert page.title() != "mine"
    assert any("Content Security Policy" in text for text in page.messages)


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_screen_scrolls_tables_and_not_the_page(visit, name):
    page = visit(name, viewport=NARROW)
    page.evaluate(OPEN_ROWS)
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_heat_map_is_drawn_in_the_theme_s_colours(visit, scheme):
    page = visit("different", color_scheme=scheme)
    page.get_by_role("button", name=VALUE.name).click()
    colour = page.evaluate("getComputedStyle(document.querySelector('.heat .level-5')).fill")
    assert colour == ("rgb(74, 27, 0)" if scheme == "light" else "rgb(255, 220, 194)")
