"""How long and how much memory a diff takes, beside other ways to compare two checkpoints: Markdown tables.

    python benchmarks/diff.py [--folder DIR] [--peers VENV] [--only speed many large names]

It writes 20 GB into DIR (a temporary folder by default) and deletes them. Every figure is the median of runs that alternate
with the others', each in a process of its own, with warm files; start-up (imports) is left out unless a row says so. VENV is a
virtual environment that has the peers `sft-cli` and `ckptkit[cli]`; without it their rows are left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.checkpoint.dtypes import DTYPES

RUNS = 5
MATRIX = (4096, 4096)  # 32 MiB of bfloat16
TINY = 100_000
CODES = {"bfloat16": "BF16", "float32": "F32"}

# Each prints its seconds without its imports; `a` and `b` are the two files.
PROGRAMS = {
    "ours": """
from workbench.checkpoint.diff import diff
began = time.perf_counter()
found = diff(a, b)
assert len(found.differences) == 1
""",
    "memory-mapped `torch.equal`, tensor by tensor": """
import torch
from safetensors import safe_open
began = time.perf_counter()
with safe_open(a, "pt") as left, safe_open(b, "pt") as right:
    found = [name for name in left.keys() if not torch.equal(left.get_tensor(name), right.get_tensor(name))]
assert len(found) == 1
""",
    "`read()` of both, then `torch.equal`": """
import json
import torch
def read(path):
    data = bytearray(os.path.getsize(path))
    open(path, "rb").readinto(data)
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    return {name: torch.frombuffer(data, dtype=torch.int8, offset=start + at, count=end - at)
        for name, entry in header.items() for at, end in [entry["data_offsets"]]}
began = time.perf_counter()
left, right = read(a), read(b)
found = [name for name in left if not torch.equal(left[name], right[name])]
assert len(found) == 1
""",
    "`torch.load` of the same as `.pt`, then `torch.equal`": """
import torch
a, b = a.replace(".safetensors", ".pt"), b.replace(".safetensors", ".pt")
began = time.perf_counter()
left, right = (torch.load(path, weights_only=True) for path in (a, b))
found = [name for name in left if not torch.equal(left[name], right[name])]
assert len(found) == 1
""",
}

# Peak of private memory while two files are compared; file-backed pages are not in it.
MEMORY = """
import threading
from workbench.checkpoint.diff import diff
def private():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024
most, done = 0.0, threading.Event()
def watch():
    global most
    while not done.wait(0.005):
        most = max(most, private())
watcher = threading.Thread(target=watch)
watcher.start()
began = time.perf_counter()
found = diff(a, b)
seconds = time.perf_counter() - began
done.set()
watcher.join()
assert len(found.differences) == expected
print(f"{seconds} {most}")
"""


# ---------------------------------------------------------------------------------------- files


def write(
    path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]], data: Iterator[np.ndarray] | None = None
) -> Path:
    """A safetensors file of (dtype, shape); its bytes are `data`'s, or a hole of the file system."""
    header, at = {}, 0
    for name, (dtype, shape) in tensors.items():
        end = at + int(np.prod(shape, dtype=np.int64)) * DTYPES[dtype].bytes
        header[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for block in data or ():
            file.write(block.tobytes())
        file.truncate(8 + len(text) + at)
    return path


def matrices(path: Path, gigabytes: int, change: Callable[[int, np.ndarray], None]) -> Path:
    """So many GB of random bfloat16 matrices, each changed by `change(index, bits)` before it is written."""
    count = gigabytes * 2**30 // (MATRIX[0] * MATRIX[1] * 2)
    generator = np.random.default_rng(0)

    def blocks() -> Iterator[np.ndarray]:
        for index in range(count):
            bits = (generator.standard_normal(MATRIX, np.float32).view(np.uint32) >> 16).astype(np.uint16)
            change(index, bits)
            yield bits

    return write(path, {f"model.layers.{index}.weight": ("bfloat16", MATRIX) for index in range(count)}, blocks())


def nothing(index: int, bits: np.ndarray) -> None:
    pass


def one_element(index: int, bits: np.ndarray) -> None:
    if index == 40:
        bits[1234, 567] ^= 1


def everything(index: int, bits: np.ndarray) -> None:
    bits ^= 1


def as_pt(path: Path) -> None:
    """The same tensors by `torch.save`, in a process that has torch."""
    code = "import sys, torch; from safetensors.torch import load_file; torch.save(load_file(sys.argv[1]), sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, str(path), str(path.with_suffix(".pt"))], check=True)


def tiny(path: Path, changed: bool) -> Path:
    data = np.random.default_rng(0).standard_normal((TINY, 64), np.float32)
    if changed:
        data[40_000, 7] += 1
    return write(path, {f"model.layers.{at // 10}.t{at % 10}": ("float32", (64,)) for at in range(TINY)}, iter([data]))


# ------------------------------------------------------------------------------------------- runs


def inner_seconds(program: str, a: Path, b: Path) -> float:
    code = f"import os, sys, time\na, b = sys.argv[1:]\n{program}\nprint(time.perf_counter() - began)"
    ran = subprocess.run([sys.executable, "-c", code, str(a), str(b)], capture_output=True, text=True, check=True)
    return float(ran.stdout)


def command_seconds(command: list[str]) -> float:
    began = time.perf_counter()
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    spent = time.perf_counter() - began
    assert ran.returncode in (0, 1), f"{' '.join(command)}: {ran.stderr}"
    return spent


def alternating(rows: dict[str, Callable[[], float]], runs: int = RUNS) -> dict[str, list[float]]:
    """Each row once to warm the files, then all of them in turn."""
    for work in rows.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(runs):
        for name, work in rows.items():
            found[name].append(work())
    return found


def compared(a: Path, b: Path, peers: Path | None, programs: list[str]) -> dict[str, list[float]]:
    rows: dict[str, Callable[[], float]] = {
        name: lambda name=name: inner_seconds(PROGRAMS[name], a, b) for name in programs
    }
    rows["`workbench diff A B`, start-up included"] = lambda: command_seconds([*WORKBENCH, "diff", str(a), str(b)])
    if peers is not None:
        sft, ckptkit = (str(peers / "bin" / name) for name in ("sft", "ckptkit"))
        rows["`sft diff --delta` (sft-cli), start-up included"] = lambda: command_seconds(
            [sft, "diff", "--delta", str(a), str(b)]
        )
        rows["`ckptkit diff` (it compares names and shapes only), start-up included"] = lambda: command_seconds(
            [ckptkit, "diff", str(a), str(b)]
        )
    return alternating(rows)


WORKBENCH = [sys.executable, "-m", "workbench"]


def table(title: str, found: dict[str, list[float]]) -> None:
    print(f"\n| {title} | median s | fastest – slowest |\n|---|---:|---:|")
    for name, spent in found.items():
        print(f"| {name} | {statistics.median(spent):.2f} | {min(spent):.2f} – {max(spent):.2f} |")


def memory(a: Path, b: Path, expected: int) -> tuple[float, float]:
    code = f"import sys, time\na, b, expected = sys.argv[1], sys.argv[2], int(sys.argv[3])\n{MEMORY}"
    command = [sys.executable, "-c", code, str(a), str(b), str(expected)]
    seconds, most = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(most)


def speed(folder: Path, peers: Path | None) -> None:
    a, b = matrices(folder / "a.safetensors", 2, nothing), matrices(folder / "b.safetensors", 2, one_element)
    for path in (a, b):
        as_pt(path)
    table("two files of 2 GB, one element differs", compared(a, b, peers, list(PROGRAMS)))
    clear(folder)


def many(folder: Path, peers: Path | None) -> None:
    a, b = tiny(folder / "a.safetensors", False), tiny(folder / "b.safetensors", True)
    table(f"{TINY:,} tensors of 256 bytes, one element differs", compared(a, b, peers, list(PROGRAMS)[:2]))
    clear(folder)


def large(folder: Path, peers: Path | None) -> None:
    a = matrices(folder / "a.safetensors", 4, nothing)
    print("\n| two files of 4 GB | peak private MiB | s |\n|---|---:|---:|")
    for title, change, expected in (
        ("one element differs", one_element, 1),
        ("every element differs", everything, 128),
    ):
        b = matrices(folder / "b.safetensors", 4, change)
        memory(a, b, expected)
        seconds, most = zip(*(memory(a, b, expected) for _ in range(3)), strict=True)
        print(f"| {title} | {statistics.median(most):.0f} | {statistics.median(seconds):.1f} |")
        b.unlink()
    clear(folder)


def names(folder: Path, peers: Path | None) -> None:
    model = preset("deepseek-v3")
    rows = Architecture(model.pattern, model.sizes, dtype="bf16").canonical()
    tensors = {row.name: (row.dtype, row.shape) for row in rows}
    elements = sum(int(np.prod(row.shape, dtype=np.int64)) for row in rows)
    a, b = (write(folder / f"{name}.safetensors", tensors) for name in "ab")
    found = alternating(
        {
            "`workbench inspect A`": lambda: command_seconds([*WORKBENCH, "inspect", str(a)]),
            "`workbench diff --names-only A B`": lambda: command_seconds(
                [*WORKBENCH, "diff", "--names-only", str(a), str(b)]
            ),
        }
    )
    table(f"{len(rows):,} names of {elements / 1e9:.0f}B parameters (sparse files), start-up included", found)
    clear(folder)


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


PARTS = {"speed": speed, "many": many, "large": large, "names": names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the files are written")
    parser.add_argument("--peers", type=Path, help="a virtual environment with sft-cli and ckptkit[cli]")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="some of the tables")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        for part in arguments.only:
            PARTS[part](Path(name), arguments.peers)
    print(
        f"\n{platform.processor() or platform.machine()}, {platform.system()}, Python {platform.python_version()},",
        end=" ",
    )
    print(", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "safetensors")))


if __name__ == "__main__":
    main()
