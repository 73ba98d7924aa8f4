"""One browser, and one JupyterLab, for every test of this folder; both are gone when the next folder's tests begin."""

import pytest

from .jupyter import ARGUMENTS, Lab, jupyter
from .test_reports import CHROMIUM


@pytest.fixture(scope="package")
def browser():
    """A Chromium that reaches nothing but this machine. Playwright's synchronous interface allows one at a time."""
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="package")
def lab(browser, tmp_path_factory):
    """A JupyterLab in that browser."""
    root, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
    with jupyter(root, home) as address:
        yield Lab(address, root, browser)


@pytest.fixture
def open_page(browser):
    """Open an address; what the page asked for and what it said are in `.requests` and `.messages`."""
    contexts = []

    def opened(address, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.requests, page.messages = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("console", lambda message: page.messages.append(message.text))
        page.on("pageerror", lambda error: page.messages.append(str(error)))
        page.goto(address)
        page.wait_for_load_state("networkidle")
        return page

    yield opened
    for context in contexts:
        context.close()
