"""All benchmarks one after the other: the machine, the versions, the date, and every script's table, in one Markdown file.

    python benchmarks/run.py [-o FILE.md] [--quick] [--only ssd delta small_kernels fusion drawing]

Each script is a process of its own, so that none inherits another's threads, caches or memory; one that fails says so in its
place in the file, and the exit status is 1. `diff.py` (files of gigabytes, peers in an environment of their own) and `editor.py` (a
browser) are not among them.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = ("torch", "megatron-core", "transformers", "numpy", "hybrid-workbench")


@dataclass(frozen=True)
class Script:
    """A benchmark: its file, what is measured, its arguments, and those of a quick run."""

    name: str
    title: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("--quick",)


SCRIPTS = (
    Script("ssd", "Mamba-2's scan and a whole mixer"),
    Script("delta", "The gated delta rule"),
    Script("small_kernels", "Convolution, norms, experts"),
    Script("fusion", "A training step with every pair fused", quick=("--seconds", "2")),
    Script("drawing", "Drawing", quick=()),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="default: benchmarks/results/DATE.md")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: does everything run?")
    parser.add_argument("--only", nargs="+", choices=[script.name for script in SCRIPTS], metavar="NAME")
    options = parser.parse_args()
    today = datetime.date.today().isoformat()
    target = options.output or HERE / "results" / f"{today}.md"
    parts, failed = [f"# Benchmarks of {today}\n\n{machine()}\n"], False
    for script in SCRIPTS:
        if options.only and script.name not in options.only:
            continue
        print(f"{script.name} …", file=sys.stderr, flush=True)
        text, status = measured(script, options.quick)
        parts.append(text)
        failed = failed or status != 0
        # Written after each script, so that an interrupted run keeps what it has.
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(parts), encoding="utf-8")
    print(target)
    return int(failed)


def machine() -> str:
    """What everything below was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}, {versions}, commit {commit.stdout.strip() or 'unknown'}."
    )


def measured(script: Script, quick: bool) -> tuple[str, int]:
    """A section with the script's own output, and its exit status."""
    arguments = [*script.arguments, *(script.quick if quick else ())]
    load, start = os.getloadavg()[0], time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / f"{script.name}.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - start
    command = " ".join(["python", f"benchmarks/{script.name}.py", *arguments])
    body = done.stdout.strip()
    if done.returncode:
        body += f"\n\n**Failed with status {done.returncode}:**\n\n```\n{done.stderr.strip()[-2000:]}\n```"
    head = f"## {script.title}: `{command}`\n\nLoad {load:.1f} when it began; it took {seconds:.0f} s.\n"
    return f"{head}\n{body}\n", done.returncode


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
