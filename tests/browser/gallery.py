"""The gallery in docs/gallery: drawings that the code draws, and pictures of editor and report in a browser.

`make gallery` writes both anew. The drawings are the same bytes on every machine, and tests/test_gallery.py holds them to
the code; the pictures depend on the machine's fonts, so they are looked at, not compared.
"""

import contextlib
import tempfile
from pathlib import Path

from workbench.cli import main

GALLERY = Path(__file__).resolve().parents[2] / "docs" / "gallery"
EXAMPLE = "M[*-]M[ME]|M-*-/[*-]"
BROKEN = "M[*-]M[-E]|M-*[-"
DRAWINGS = {
    f"{view}-{name}.svg": ("draw", model, "--view", view)
    for view in ("strip", "graph")
    for name, model in (
        ("example", EXAMPLE),
        ("nemotron-h-56b", "nemotron-h-56b"),
        ("qwen3-next", "qwen3-next-80b-a3b"),
    )
}
PICTURES = (
    *(f"editor-{what}-{theme}.png" for what in ("valid", "broken") for theme in ("light", "dark")),
    "report-screen.png",
    "report-print.png",
    "diff-page.png",
    "training-chart.png",
)
# Made by benchmarks/recall.py, which trains for a quarter of an hour.
MEASURED = ("recall-cost.svg", "recall-training.svg", "recall-state.svg")
TRAIN = """\
import torch
from workbench import ModelSizes, TrainingChart, TrainingSettings, open_data, train_twins
torch.set_num_threads(1)
sizes = ModelSizes(hidden_size=64, ffn_hidden_size=128, mamba_head_dim=32, mamba_num_groups=1)
settings = TrainingSettings(steps=300, rows=8, evaluate_every=50, test_rows=64, learning_rate=5e-3)
data = open_data("stdlib", sequence=64, seed=1)
twins = train_twins("M[*-]M[ME]", data=data, settings=settings, sizes=sizes, watchers=[TrainingChart()])"""


def draw(folder):
    """Every drawing, in a folder."""
    for name, command in DRAWINGS.items():
        assert main([*command, "-o", str(folder / name), "--force"]) == 0


def photograph(folder):
    """Every picture, in a folder: one JupyterLab, one browser."""
    from playwright.sync_api import sync_playwright

    from .jupyter import ARGUMENTS, Lab, jupyter
    from .test_reports import CHROMIUM

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        root, home = Path(temporary, "notebooks"), Path(temporary, "home")
        root.mkdir()
        home.mkdir()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with contextlib.closing(browser), jupyter(root, home) as address:
            for theme in ("light", "dark"):
                for what, text in (("valid", EXAMPLE), ("broken", BROKEN)):
                    cell = f"from workbench import Editor\nEditor({text!r})"
                    page = Lab(address, root, browser).open(cell, dark=theme == "dark")
                    editor = page.locator(".wb-editor")
                    # Tall enough for all of the editor, which JupyterLab would scroll.
                    page.set_viewport_size({"width": 1360, "height": 2200})
                    editor.wait_for()
                    if what == "valid":
                        page.locator('.wb-cell[data-key="main:1"]').click()
                        page.wait_for_timeout(1000)
                    editor.screenshot(path=folder / f"editor-{what}-{theme}.png")
                    page.context.close()
            page = Lab(address, root, browser).open(TRAIN)
            page.set_viewport_size({"width": 1360, "height": 1600})
            page.locator(".wb-chosen label", has_text="step 300").wait_for(timeout=300_000)
            page.locator(".wb-chart").screenshot(path=folder / "training-chart.png")
            page.context.close()
            review = Path(temporary, "review.html")
            assert main(["report", EXAMPLE, "--against", "M*-MME|M-*-/*-", "-o", str(review)]) == 0
            for medium in ("screen", "print"):
                page = browser.new_page(viewport={"width": 1100 if medium == "screen" else 760, "height": 1400})
                page.emulate_media(media=medium)
                page.goto(review.as_uri())
                page.screenshot(path=folder / f"report-{medium}.png")
                page.close()
            page = browser.new_page(viewport={"width": 1240, "height": 1000})
            page.goto(differing(Path(temporary)).as_uri())
            page.locator(".browse tbody tr", has_text="linear_fc1").first.click()
            page.locator(".browse").screenshot(path=folder / "diff-page.png")
            page.close()


def differing(folder):
    """The page of a diff between a fused and an unfused model's files, with a few differences planted in the second."""
    import torch

    from workbench.fusion.model import build_model

    for name, pattern in (("fused", "[M-][*-]"), ("plain", "M-*-")):
        state = build_model(pattern, seed=1, backend="local").state_dict()
        if name == "plain":
            state["decoder.layers.3.mlp.linear_fc1.weight"][64:192, 10:40] += 0.01
            state["decoder.layers.0.mixer.A_log"][2] = float("nan")
            state["output_layer.weight"][5, 7].nextafter_(torch.tensor(torch.inf))
            state["decoder.layers.2.self_attention.linear_proj.weight"].t_()
        torch.save(state, folder / f"{name}.pt")
    page = folder / "diff.html"
    assert main(["diff", str(folder / "fused.pt"), str(folder / "plain.pt"), "--html", str(page), "--quiet"]) == 1
    return page


if __name__ == "__main__":
    GALLERY.mkdir(parents=True, exist_ok=True)
    draw(GALLERY)
    photograph(GALLERY)
