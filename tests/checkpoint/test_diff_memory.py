"""A diff holds no tensor in memory, also when all of them differ: private memory is measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

_STATUS = Path("/proc/self/status")
_TENSORS, _ROWS, _COLUMNS = 2, 8192, 4096  # 64 MiB each in 16 bits
_FILE_MIB = _TENSORS * _ROWS * _COLUMNS * 2 // 2**20
_ALLOWED_MIB = 64

# What differs is measured in blocks of `BLOCK_ELEMENTS`; the sampler sees the most private memory that was held meanwhile.
_PROGRAM = """
import sys, threading, time
from workbench.checkpoint.diff import diff
from workbench.checkpoint.reading.safetensors_file import open_safetensors
from workbench.checkpoint.source import Checkpoint
from workbench.checkpoint.tensors import concatenated

def private():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

def in_columns(side):  # as two tensor-parallel ranks would store it
    half = {columns} // 2
    return Checkpoint(side.where, side.format, {{
        name: concatenated([tensor.narrow(1, 0, half), tensor.narrow(1, half, half)], 1)
        for name, tensor in side.tensors.items()
    }})

left, right = (open_safetensors(path) for path in sys.argv[1:3])
if sys.argv[3] == "columns":
    left = in_columns(left)
diff(left, right, only=["small"])
before, most, done = private(), 0.0, threading.Event()
def watch():
    global most
    while not done.wait(0.002):
        most = max(most, private())
watcher = threading.Thread(target=watch)
watcher.start()
found = diff(left, right)
done.set()
watcher.join()
assert "torch" not in sys.modules, "torch was imported"
print(found.counts["value"], max(most, private()) - before)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("large")
    generator = np.random.default_rng(0)
    tensors = {
        f"layers.{at}": generator.standard_normal((_ROWS, _COLUMNS), np.float32).astype(np.float16)
        for at in range(_TENSORS)
    }
    tensors["small"] = np.ones((2, _COLUMNS), np.float16)
    paths = {name: folder / f"{name}.safetensors" for name in ("left", "same", "moved", "other")}
    for name in ("left", "same"):
        save_file(tensors, paths[name])
    save_file({**tensors, "layers.0": tensors["layers.1"], "layers.1": tensors["layers.0"]}, paths["moved"])
    for name in ("layers.0", "layers.1"):
        tensors[name] += np.float16(0.01)
    save_file(tensors, paths["other"])
    return paths


@pytest.mark.skipif(not _STATUS.exists(), reason="private memory is read from /proc")
@pytest.mark.parametrize("form", ["runs", "columns"])
@pytest.mark.parametrize(("right", "differing"), [("same", 0), ("moved", 2), ("other", 2)])
def test_private_memory_stays_small(files: dict[str, Path], right: str, differing: int, form: str):
    assert _FILE_MIB >= 2 * _ALLOWED_MIB, "a whole tensor would not be noticed"
    command = [sys.executable, "-c", _PROGRAM.format(columns=_COLUMNS), str(files["left"]), str(files[right]), form]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found, grown = ran.stdout.split()
    assert int(found) == differing
    assert float(grown) < _ALLOWED_MIB, f"{float(grown):.0f} MiB of private memory for files of {_FILE_MIB} MiB"
