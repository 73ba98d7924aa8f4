"""The experiment of notebook 06, run in full: its pictures into docs/gallery, its numbers into benchmarks/results.

    python benchmarks/recall.py [--folder FOLDER]

A quarter of an hour on two cores. The notebook is executed as it stands, in a fresh kernel; nothing is trained here. Its tables go
into `DATE-recall.txt`, the three charts of the sweep and of the state into `recall-….svg`.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the notebook is run as the tests run it

from benchmarks.run import machine  # noqa: E402
from tests.notebooks.running import executed, outputs, shown_text  # noqa: E402

NOTEBOOK = ROOT / "notebooks" / "06_which_pattern_learns_what.ipynb"
CHARTS = ("recall-cost.svg", "recall-training.svg", "recall-state.svg")  # in the order that the notebook shows them
_IMAGE = re.compile(r'src="data:image/svg\+xml;base64,([^"]+)"')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "gallery", help="of the pictures")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(NOTEBOOK, folder, seconds=3600)
    shown = [output.get("data", {}).get("text/html", "") for output in outputs(notebook)]
    images = [image for text in shown for image in _IMAGE.findall(text)]
    if len(images) != len(CHARTS):
        raise SystemExit(f"{NOTEBOOK.name} shows {len(images)} pictures, not {len(CHARTS)}")
    for name, image in zip(CHARTS, images, strict=True):
        (options.folder / name).write_bytes(base64.b64decode(image))
    today = datetime.date.today().isoformat()
    target = ROOT / "benchmarks" / "results" / f"{today}-recall.txt"
    target.parent.mkdir(exist_ok=True)
    head = f"{NOTEBOOK.name}, {today}: {time.monotonic() - start:.0f} s\n{machine()}\n\n"
    target.write_text(head + shown_text(notebook).rstrip("\n") + "\n", encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
