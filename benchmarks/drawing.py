"""How long a pattern takes to become a picture: medians in milliseconds, as a Markdown table.

    python benchmarks/drawing.py

Each step starts from the pattern's text: parsing, the view, the layout and the writing are all in the figure.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

from workbench import Pattern
from workbench.arch.presets import preset
from workbench.render import graph as graph_drawing
from workbench.render import strip as strip_drawing
from workbench.render.canvas_xdot import pdf, png
from workbench.render.graph_layout import _placed
from workbench.views.graph import block_graph, graph
from workbench.views.pattern import strip

SECONDS = 1.0  # at least, for each figure
FEWEST = 7

PATTERNS = {
    "10 sub-layers": "M[*-]M[ME]|M-*-/[*-]",
    "96 (Qwen3-Next)": str(preset("qwen3-next-80b-a3b").pattern),
    "118 (Nemotron-H-56B)": str(preset("nemotron-h-56b").pattern),
    "1,000": "M-M*-ME*-M" * 100,
}


def drawn(text: str) -> dict[str, Callable[[], object]]:
    pairs = Pattern(text).fused()
    pair = next(block.index for block in pairs.blocks if block.fused)

    def first_graph() -> str:
        _placed.cache_clear()
        return graph_drawing.svg(graph(Pattern(text)))

    return {
        "strip, SVG": lambda: strip_drawing.svg(strip(Pattern(text))),
        "strip folded, SVG": lambda: strip_drawing.svg(strip(Pattern(text), fold=True)),
        "graph, SVG": lambda: graph_drawing.svg(graph(Pattern(text))),
        "graph, SVG, nothing laid out before": first_graph,
        "one block fused and unfused, SVG": lambda: graph_drawing.svg(block_graph(pairs, pair)),
        "strip, PDF": lambda: pdf(strip_drawing.draw(strip(Pattern(text)))),
        "strip, PNG at 2×": lambda: png(strip_drawing.draw(strip(Pattern(text)))),
    }


def median_ms(work: Callable[[], object]) -> float:
    work()
    spent: list[float] = []
    began = time.perf_counter()
    while len(spent) < FEWEST or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return 1000 * statistics.median(spent)


def main() -> None:
    columns = {name: drawn(text) for name, text in PATTERNS.items()}
    print(f"| median ms | {' | '.join(columns)} |")
    print(f"|---|{'---:|' * len(columns)}")
    for step in next(iter(columns.values())):
        figures = (f"{median_ms(steps[step]):.1f}" for steps in columns.values())
        print(f"| {step} | {' | '.join(figures)} |")
    print(
        f"\n{platform.processor() or platform.machine()}, {platform.system()}, Python {platform.python_version()},",
        end=" ",
    )
    print(f"pygraphviz {version('pygraphviz')}, graphviz {version('graphviz')}")


if __name__ == "__main__":
    main()
