"""The live editor in a real JupyterLab: what a person does, and what the page then says."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from nbconvert import HTMLExporter

from .jupyter import read, run
from .test_notebook_page import NOT_NEEDED

pytestmark = pytest.mark.browser

EXAMPLE = "M[*-]M[ME]|M-*-/[*-]"
BROKEN = "M[*-]M[-E]|M-*[-"
EDITOR = f"from workbench import Editor\neditor = Editor({EXAMPLE!r})\neditor"
LATER = "print(editor.value, editor.pattern, editor.selected, editor.selected_mtp)"
DEEP = "M-M-M-M*-" + "M-M-M-M-M*-" * 9 + "M-M-M-M-M-"  # Nemotron-H-56B


@pytest.fixture(scope="module")
def page(lab):
    """One notebook with an editor, and a cell that reads it."""
    page = lab.open(EDITOR, LATER)
    field(page).wait_for()
    return page


@pytest.fixture(autouse=True)
def fresh(request):
    if "page" in request.fixturenames:
        write(request.getfixturevalue("page"), EXAMPLE)


def field(page):
    return page.get_by_label("Layer pattern", exact=True)


def write(page, text):
    field(page).fill(text)
    settled(page, text)


def settled(page, text):
    """Wait until the field, and the strip drawn from Python's answer, are of this text."""
    page.wait_for_function("(text) => document.querySelector('.wb-editor').dataset.text === text", arg=text)
    assert field(page).input_value() == text


def figures(page):
    return [entry.inner_text().replace("\n", " ") for entry in page.locator(".wb-facts li").all()][:3]


def underlined(page):
    return page.locator(".wb-mirror .wb-error").all_inner_texts()


def cell(page, index, mtp=False):
    return page.locator(f'.wb-cell[data-key="{"mtp" if mtp else "main"}:{index}"]')


# ------------------------------------------------------------------------------------------------------


def test_typing_underlines_exactly_the_wrong_characters(page):
    write(page, "")
    field(page).press_sequentially(BROKEN)
    settled(page, BROKEN)
    assert underlined(page) == ["-", "["]
    before = page.evaluate("() => document.querySelector('.wb-mirror .wb-error').previousSibling.textContent")
    assert before == "M[*-]M[", "the first wrong character is the one after these"
    assert field(page).get_attribute("aria-invalid") == "true"
    assert "group-order 7" in page.locator(".wb-problems").inner_text()
    assert page.locator(".wb-cell").count() == 10
    assert "The strip shows what still parses" in page.locator(".wb-problems").inner_text()


def test_a_fix_is_one_click(page):
    write(page, BROKEN)
    page.get_by_role("button", name="Fix group-order at 7").click()
    settled(page, "M[*-]M-E|M-*[-")
    page.get_by_role("button", name="Fix unclosed-group").click()
    settled(page, "M[*-]M-E|M-*-")
    assert underlined(page) == []
    assert field(page).get_attribute("aria-invalid") == "false"


def test_the_mouse_fuses_and_unfuses_between_cells(page):
    page.get_by_role("button", name="Fuse sub-layers 6 and 7").click()
    settled(page, "M[*-]M[ME]|[M-]*-/[*-]")
    assert figures(page) == ["7 blocks", "10 sub-layers", "3 fused pairs"]
    cell(page, 1).hover()
    page.get_by_role("button", name="Unfuse sub-layers 1 and 2").click()
    settled(page, "M*-M[ME]|[M-]*-/[*-]")
    page.get_by_role("button", name="Unfuse MTP sub-layers 0 and 1").click()
    settled(page, "M*-M[ME]|[M-]*-/*-")


def test_the_keyboard_is_enough(page):
    cell(page, 0).focus()
    page.keyboard.press("End")
    page.keyboard.press("Home")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.dataset.key") == "main:6"
    page.keyboard.press("Enter")
    settled(page, "M[*-]M[ME]|[M-]*-/[*-]")
    assert page.evaluate("() => document.activeElement.dataset.key") == "main:6", "the focus stays on its sub-layer"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("f")
    settled(page, EXAMPLE)
    page.keyboard.press("Control+z")
    settled(page, "M[*-]M[ME]|[M-]*-/[*-]")
    assert page.locator(".wb-cell[tabindex='0']").count() == 1, "the strip is one stop of the tab key"
    assert page.locator(".jp-Cell").count() == 2, "no key reached JupyterLab"


def test_a_selection_is_read_in_a_later_cell(page):
    cell(page, 4).click()
    assert read(page, 1) == f"{EXAMPLE} {EXAMPLE} (4, 5) False"
    assert cell(page, 5).get_attribute("aria-pressed") == "true", "the whole block is selected"
    assert "layers.4.mixer.in_proj.weight" in page.locator(".wb-weights").inner_text()
    assert "layers.3.self_attention.in_proj.weight" in page.locator(".wb-weights").inner_text()
    picture = page.locator(".wb-inside img")
    assert picture.get_attribute("alt").startswith("Inside [ME], sub-layers 4–5. Unfused, Mamba-2 and")
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 300
    cell(page, 0, mtp=True).click()
    assert read(page, 1) == f"{EXAMPLE} {EXAMPLE} (0, 1) True"
    write(page, BROKEN)
    assert read(page, 1).startswith(f"{BROKEN} None")


def test_one_sub_layer_is_lit_everywhere(page):
    cell(page, 1).click()
    page.locator(".wb-details summary").click()
    cell(page, 1).hover()
    assert page.evaluate("""() => {
        const hot = document.querySelector(".wb-mirror .wb-hot");
        return [hot.textContent, hot.previousSibling.textContent];
    }""") == ["*", "M["]
    lit = page.locator("tr.wb-hot").all_inner_texts()
    assert any("self-attention" in row and "%" in row for row in lit), "the cost of its kind"
    assert any("layers.1.self_attention.linear_qkv.weight" in row for row in lit), "its weights"
    assert any("1, 2" in row for row in lit), "its block in the table"
    page.locator(".wb-details summary").click()
    page.locator(".wb-cost tr", has_text="Mamba-2").hover()
    assert page.locator(".wb-cell.wb-hot").count() == 4


def test_a_sub_layer_of_mtp_is_lit_in_every_depth(page):
    write(page, "M/[*-]/[*-]")
    cell(page, 1, mtp=True).hover()
    assert page.locator(".wb-mirror .wb-hot").all_inner_texts() == ["-", "-"]
    assert "multi-token prediction" in page.locator(".wb-cost tr.wb-hot").inner_text()


def test_undo_and_redo(page):
    page.get_by_role("button", name="unfuse all").click()
    settled(page, "M*-MME|M-*-/*-")
    page.get_by_role("group", name="Change the pattern").get_by_role("button", name="fuse all", exact=True).click()
    settled(page, "M[*-]M[ME]|[M-][*-]/[*-]")
    field(page).press("Control+z")
    settled(page, "M*-MME|M-*-/*-")
    field(page).press("Control+z")
    settled(page, EXAMPLE)
    field(page).press("Control+Shift+z")
    settled(page, "M*-MME|M-*-/*-")


def test_stages_and_presets(page):
    write(page, "M-M-M-M-")
    page.get_by_label("Stages").fill("2")
    page.get_by_role("button", name="balance into").click()
    page.wait_for_function("() => document.querySelector('.wb-editor').dataset.text.includes('|')")
    page.get_by_label("Load a preset").select_option("Llama-3 8B")
    settled(page, "*-" * 32)
    assert "8.03B" in page.locator(".wb-facts").inner_text()
    field(page).press("Control+z")
    page.wait_for_function("() => document.querySelector('.wb-editor').dataset.text.includes('|')")


def test_exports(page):
    for name, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG"), ("report", b"<!doctype html>")):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Export as {name}").click()
        with open(download.value.path(), "rb") as file:
            assert file.read(len(start)) == start


def test_a_later_cell_may_change_the_text(page):
    page.evaluate("() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }")
    page.evaluate("""() => {
        const cell = jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel;
        cell.setSource("editor.value = 'M[*-]'");
    }""")
    run(page, "notebook:run-cell")
    settled(page, "M[*-]")
    page.evaluate(
        "(source) => jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource(source)", LATER
    )


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202eM[*-]\u2066", "🙂[M-", "M?" * 5000],
    ids=["script", "img", "bidi", "emoji", "long"],
)
def test_hostile_text_is_text(page, text):
    seen = text.translate(dict.fromkeys(map(ord, "\u202e\u2066"), "\ufffd"))
    field(page).fill(text)
    settled(page, seen)
    assert page.locator(".wb-mirror").inner_text().rstrip("\u200b") == seen
    assert page.locator(".wb-editor :is(script, iframe), .wb-editor img:not(.wb-inside img)").count() == 0
    assert page.errors == []


def test_quick_typing_ends_right(page):
    write(page, "")
    field(page).press_sequentially(DEEP, delay=5)
    settled(page, DEEP)
    assert page.locator(".wb-cell").count() == 118


def test_announcements_are_polite_and_late(page):
    write(page, "M[*-")
    page.wait_for_function(
        "() => document.querySelector('.wb-editor [role=status]').textContent.startsWith('1 problem')"
    )


def test_two_views_of_an_editor_agree(lab):
    page = lab.open(EDITOR, "editor")
    first, second = field(page).nth(0), field(page).nth(1)
    second.wait_for()
    first.fill("M[*-]")
    page.wait_for_function("() => document.querySelectorAll('.wb-editor textarea')[1].value === 'M[*-]'")
    second.press("Control+z")
    page.wait_for_function("(text) => document.querySelectorAll('.wb-editor textarea')[0].value === text", arg=EXAMPLE)
    page.context.close()


def test_a_busy_kernel_is_said_and_nothing_written_meanwhile_is_lost(lab):
    page = lab.open(EDITOR, "import time; time.sleep(5)", LATER)
    field(page).wait_for()
    page.evaluate("() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }")
    page.evaluate("() => { void jupyterapp.commands.execute('notebook:run-cell'); }")
    field(page).fill("M")
    field(page).press_sequentially("-M-", delay=30)
    page.get_by_text("Python is busy").wait_for()
    settled(page, "M-M-")
    assert page.get_by_text("Python is busy").count() == 0
    page.context.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(lab, dark):
    page = lab.open(EDITOR, LATER, dark=dark)
    field(page).wait_for()
    cell(page, 1).click()
    page.locator(".wb-details summary").click()
    for text in (EXAMPLE, BROKEN, DEEP):
        write(page, text)
        found = Axe().run(page, context=".wb-editor").response
        assert [(entry["id"], entry["nodes"][0]["html"]) for entry in found["violations"]] == []
    page.context.close()


def test_no_request_leaves_the_machine(page):
    outside = [url for url in page.requests if "//127.0.0.1" not in url and not url.startswith(("data:", "blob:"))]
    assert outside == []


def test_a_reopened_notebook_shows_the_picture_and_no_state_is_saved(lab):
    page = lab.open(EDITOR, LATER)
    field(page).wait_for()
    write(page, "M[*-]")
    page.wait_for_timeout(1200)  # the picture follows the last change by half a second
    run(page, "docmanager:save")
    saved = json.loads(page.notebook.read_text(encoding="utf-8"))
    assert "widgets" not in saved["metadata"]
    picture, live = saved["cells"][0]["outputs"]
    assert picture["data"]["text/plain"][0].startswith("M[*-]")
    assert "application/vnd.jupyter.widget-view+json" in live["data"]
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.context.close()
    source, _ = HTMLExporter(template_name="lab", **NOT_NEEDED).from_filename(str(page.notebook))
    assert "unpkg" not in source
    assert "application/vnd.jupyter.widget-state" not in source
    assert 'src="data:image/svg+xml;base64,' in source
    later = lab.browser.new_page()
    later.notebook = page.notebook
    lab.show(later)
    later.locator(".wb-static img").wait_for()
    assert later.locator(".wb-editor").count() == 0, "the kernel and its editor are gone"
    later.close()
