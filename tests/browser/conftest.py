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
