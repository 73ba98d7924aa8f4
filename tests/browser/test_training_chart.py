"""The training chart in a real JupyterLab: it is redrawn while a cell runs, its numbers are read."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from .jupyter import read

pytestmark = pytest.mark.browser

MAKE = """\
import time
from tests.ui.test_training_chart import start, step
from workbench.ui.training_chart import TrainingChart
chart = TrainingChart(seconds=0.1)
chart.begin(start(steps=40), "left")
chart.begin(start("M*-", steps=40), "right")
for number in range(1, 41):
    for side in ("left", "right"):
        chart(step(number, 3 - number / 50), side)
    time.sleep(0.05)"""
LATER = "print(len(chart.curves[0].steps))"


@pytest.fixture(scope="module")
def page(lab):
    page = lab.open(MAKE, LATER)
    page.locator(".wb-chart").wait_for()
    page.locator(".wb-chosen label", has_text="step 40").wait_for()
    return page


def label(page):
    return page.locator(".wb-chosen label").inner_text()


def test_it_follows_the_run_and_hides_the_still_picture(page):
    assert label(page) == "step 40"
    readings = page.locator(".wb-readings").inner_text()
    assert "loss (nats a token)" in readings
    assert "2.2" in readings
    assert "difference of loss" in readings
    assert not page.locator(".wb-static").is_visible()
    assert "loss 2.2000 at step 40" in page.locator(".wb-picture img").get_attribute("alt")


def test_the_numbers_of_any_step_are_read_with_the_keys_and_the_pointer(page):
    slider = page.get_by_role("slider")
    slider.press("Home")
    assert label(page) == "step 1"
    assert "2.98" in page.locator(".wb-readings").inner_text()
    slider.press("End")
    assert label(page) == "step 40"
    box = page.locator(".wb-picture img").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    assert 15 <= int(label(page).split()[1]) <= 27
    page.mouse.move(2, 2)
    assert label(page) == "step 40"


def test_it_is_accessible(page):
    found = Axe().run(page, context=".wb-chart").response
    assert [(entry["id"], entry["nodes"][0]["html"]) for entry in found["violations"]] == []


def test_the_kernel_goes_on(page):
    assert read(page, 1) == "40"
