"""A JupyterLab of the tests' own, and a Chromium that reaches nothing else. `conftest.py` starts both once."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat

TOKEN = "test-token"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
_READY = """() => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  return panel?.context?.isReady && panel.sessionContext?.session?.kernel?.status === "idle";
}"""


@contextlib.contextmanager
def jupyter(root, home):
    """The address of a JupyterLab that serves `root`; nothing of the user's settings is read, nothing is left behind."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {
        "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }  # fmt: skip
    here = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {name: str(home / place) for name, place in places.items()}
    environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_NO_CONFIG": "1", "PYTHONPATH": here}
    settings = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server, home / "server.log")
            yield address
        finally:
            server.terminate()  # the server stops its kernels
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for(address, server, log):
    end = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=2).read()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.1)


class Lab:
    """A server, a browser, and the pages that tests open in it."""

    def __init__(self, address, root, browser):
        self.address, self.root, self.browser = address, root, browser
        self.number = 0

    def open(self, *cells, dark=False):
        """A new notebook with these cells, all of them run; its page. `page.requests` are the addresses it asked for."""
        self.number += 1
        name = f"notebook{self.number}.ipynb"
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        book = nbformat.v4.new_notebook(metadata=kernel, cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        nbformat.write(book, self.root / name)
        context = self.browser.new_context(
            viewport={"width": 1360, "height": 1000}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        page = context.new_page()
        page.requests, page.errors, page.notebook = [], [], self.root / name
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        self.show(page)
        if dark:
            page.evaluate("() => jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
            page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
        run(page, "notebook:run-all-cells")
        return page

    def show(self, page):
        page.goto(f"{self.address}/lab/tree/{page.notebook.name}?token={TOKEN}&reset")
        page.wait_for_function(_READY, timeout=60_000)


def run(page, command):
    """A command of JupyterLab; it has happened when this returns."""
    page.evaluate("(command) => jupyterapp.commands.execute(command).then(() => null)", command)


def read(page, cell):
    """Run the cell of this number again, and the text of its output."""
    page.evaluate("(cell) => { jupyterapp.shell.currentWidget.content.activeCellIndex = cell; }", cell)
    run(page, "notebook:run-cell")
    return page.locator(".jp-Cell").nth(cell).locator(".jp-OutputArea-output").inner_text().strip()
