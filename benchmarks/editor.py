"""How long the editor takes from a keystroke to the redrawn page: medians in milliseconds, as a Markdown table.

    python benchmarks/editor.py

A real JupyterLab, a real Chromium, keys typed at the end of the text, one at a time. Four figures, told apart:

* Python: the kernel's work on one message, from its arrival until the new state is handed over;
* browser: script, style and layout of the whole page a keystroke, JupyterLab's part of it included, as Chromium counts;
* our work: the sum of the two;
* whole trip: from the `input` event to the new strip laid out, with the debounce (15 ms), the server and the sockets.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import sync_playwright

from tests.browser.jupyter import ARGUMENTS, Lab, jupyter, read
from tests.browser.test_reports import CHROMIUM
from workbench.arch.presets import preset

KEYS = 40
PAUSE = 180  # ms between keys, at least; each is answered on its own
DEEP = str(preset("nemotron-h-56b").pattern)

TEXTS = {
    "10 sub-layers": "M[*-]M[ME]|M-*-/[*-]",
    "96 (Qwen3-Next)": str(preset("qwen3-next-80b-a3b").pattern),
    "118 (Nemotron-H-56B)": DEEP,
    "118, every pair fused": str(preset("nemotron-h-56b").pattern.fused()),
    "118, a bracket open": DEEP + "[",
    "1,000": (DEEP * 9)[:1000],
}

SETUP = """
import json, time
from workbench import Editor
class Timed(Editor):
    spent = []
    def _receive(self, *arguments):
        began = time.perf_counter()
        super()._receive(*arguments)
        self.spent.append(1000 * (time.perf_counter() - began))
editor = Timed("M")
editor
"""

# From the input event until the strip drawn from its answer is laid out.
WATCH = """() => {
  const root = document.querySelector(".wb-editor"), input = root.querySelector("textarea");
  window.trips = [];
  let began = 0;
  input.addEventListener("input", () => { began = performance.now(); }, true);
  new MutationObserver(() => {
    if (root.dataset.text !== input.value || !began) return;
    void root.offsetHeight;
    window.trips.push(performance.now() - began);
    began = 0;
  }).observe(root, { attributes: true, attributeFilter: ["data-text"] });
}"""


def spent_in_browser(session) -> float:
    metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
    return 1000 * sum(metrics[name] for name in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration"))


def measure(page, session, text: str) -> dict[str, float]:
    """Type after `text` and take each character back, in turn."""
    field = page.get_by_label("Layer pattern", exact=True)
    field.fill(text)
    page.wait_for_function("(text) => document.querySelector('.wb-editor').dataset.text === text", arg=text)
    page.wait_for_timeout(1500)
    read(page, 2)  # forget what was measured so far
    page.evaluate("() => { window.trips.length = 0; document.querySelector('.wb-input').focus(); }")
    before = spent_in_browser(session)
    for number in range(KEYS):
        page.keyboard.press("Backspace" if number % 2 else "M")
        page.wait_for_timeout(PAUSE)
        while page.evaluate("() => window.trips.length") <= number:
            page.wait_for_timeout(PAUSE)
    browser = (spent_in_browser(session) - before) / KEYS
    trips = page.evaluate("() => window.trips")
    python = json.loads(read(page, 1))
    assert len(trips) == len(python) == KEYS, f"{KEYS} keys, {len(trips)} drawn, {len(python)} answered"
    return {
        "Python": statistics.median(python),
        "browser": browser,
        "our work": statistics.median(python) + browser,
        "whole trip": statistics.median(trips),
        "whole trip, 95 %": sorted(trips)[int(0.95 * KEYS) - 1],
    }


def main() -> None:
    root, home = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    with jupyter(root, home) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = Lab(address, root, browser).open(
            SETUP, "print(json.dumps(Timed.spent))", "Timed.spent.clear(); print(1)"
        )
        page.get_by_label("Layer pattern", exact=True).wait_for()
        page.evaluate(WATCH)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        found = {name: measure(page, session, text) for name, text in TEXTS.items()}
        chromium = browser.version
        browser.close()
    heads = list(next(iter(found.values())))
    print("| ms a keystroke |", " | ".join(heads), "|")
    print("|---|" + "---:|" * len(heads))
    for name, row in found.items():
        print(f"| {name} |", " | ".join(f"{value:.1f}" for value in row.values()), "|")
    print()
    print(
        f"{os.cpu_count()} cores (load {os.getloadavg()[0]:.1f}), {platform.system()}, Python {platform.python_version()}, "
        f"JupyterLab {version('jupyterlab')}, anywidget {version('anywidget')}, Chromium {chromium}"
    )


if __name__ == "__main__":
    main()
