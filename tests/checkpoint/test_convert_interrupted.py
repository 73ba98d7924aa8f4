"""Killed at any moment, or out of room: source and old target stay whole, the new one is there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoint import dying, stored
from workbench.checkpoint.convert import convert
from workbench.checkpoint.converting.write_safetensors import write_safetensors
from workbench.checkpoint.opening import open_checkpoint
from workbench.errors import WorkbenchError


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A file with a large model's names: some MB, in an attention and an MLP, twelve times."""
    shapes = {
        "self_attention.linear_proj.weight": (256, 256),
        "self_attention.linear_qkv.weight": (512, 256),
        "self_attention.linear_qkv.layer_norm_weight": (256,),
        "mlp.linear_fc1.weight": (512, 256),
        "mlp.linear_fc1.layer_norm_weight": (256,),
        "mlp.linear_fc2.weight": (256, 256),
    }
    tensors = {"embedding.word_embeddings.weight": stored.in_memory((512, 256), seed=1)}
    for layer in range(12):
        for number, (name, shape) in enumerate(shapes.items()):
            index = 2 * layer + name.startswith("mlp.")
            tensors[f"decoder.layers.{index}.{name}"] = stored.in_memory(shape, seed=100 * layer + number)
    tensors["decoder.final_norm.weight"] = stored.in_memory((256,), seed=2)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_safetensors(path, tensors)
    return path


def digest(path: Path) -> str:
    found = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            found.update(f"{file.relative_to(path)}\n".encode() + file.read_bytes())
    return found.hexdigest()


def targets(model: Path, folder: Path) -> dict[str, tuple[Path, str, str]]:
    """Format → (an old target, its digest, the digest of what the conversion makes of it)."""
    found = {}
    for format, name in (("safetensors", "a.safetensors"), ("torch_dist", "a")):
        # The new one first, by a run that nobody kills: what is written is the same bytes each time.
        new = folder / f"new {format}" / name
        convert(model, new, "grouped", format=format)
        old = folder / format / name
        convert(model, old, "canonical", format=format)
        found[format] = (old, digest(old), digest(new))
    return found


def ended(before: list, source: Path, target: Path, format: str) -> int:
    """The exit status of a conversion, negative for a signal."""
    process = dying.start(before, source, target, format, source.with_name("errors"))
    process.join(120)
    return process.exitcode


def check(model: Path, source_digest: str, target: Path, old: str, new: str) -> bool:
    """Source and target are whole; True where the target is the new one. It opens, whichever it is."""
    assert digest(model) == source_digest
    # A folder that could not be exchanged stands beside its place for a moment.
    assert digest(target) in (old, new)
    open_checkpoint(target)
    return digest(target) == new


@pytest.mark.parametrize("format", ["safetensors", "torch_dist"])
def test_killed_at_random_moments(model, tmp_path, format):
    target, old, new = targets(model, tmp_path)[format]
    source, pick, done = digest(model), random.Random(3), []
    for _ in range(4):
        process = dying.start([("slow",), ("no_kernel_copy",)], model, target, format, tmp_path / "errors")
        while not list(target.parent.glob(".*partial-*")) and process.is_alive():
            time.sleep(0.002)
        time.sleep(pick.uniform(0, 0.3))
        process.kill()
        process.join()
        done.append(check(model, source, target, old, new))
        if done[-1]:
            break
    assert not all(done)
    # The next run removes what the killed ones left.
    convert(model, target, "grouped", format=format, force=True)
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]
    assert check(model, source, target, old, new)


POINTS = [
    *(("os", "fsync", number, True) for number in (1, 2, 3)),
    ("os", "write", 1, True),
    ("os", "replace", 1, True),
    ("os", "replace", 1, False),
    ("pathlib", "Path.replace", 1, True),
    ("pathlib", "Path.replace", 1, False),
    ("workbench.checkpoint.converting.placing", "_exchange", 1, True),
    ("workbench.checkpoint.converting.placing", "_exchange", 1, False),
    ("workbench.checkpoint.converting.placing", "_remove", 1, True),
    ("workbench.checkpoint.converting.placing", "_confirm", 1, True),
]


@pytest.mark.parametrize("format", ["safetensors", "torch_dist"])
def test_killed_at_every_step(model, tmp_path, format):
    """Before and after each call that changes what is in place; it lives through those that its format does not make."""
    target, old, new = targets(model, tmp_path)[format]
    source, outcomes = digest(model), []
    for module, name, number, before in POINTS:
        keep = digest(target)
        status = ended([("die", module, name, number, before)], model, target, format)
        assert status in (0, -signal.SIGKILL)
        if check(model, source, target, old, new):
            outcomes.append((module, name, before, status))
            convert(model, target, "canonical", format=format, force=True)
        else:
            assert digest(target) == keep
            assert status == -signal.SIGKILL
    killed_but_new = [entry for entry in outcomes if entry[3]]
    assert killed_but_new, "none was killed after the new one was in place"
    convert(model, target, "grouped", format=format, force=True)
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]


def test_killed_between_two_renames(model, tmp_path):
    """Where names cannot be exchanged, a folder is set aside for a moment: the next run, with or without force, puts it back."""
    target, old, _ = targets(model, tmp_path)["torch_dist"]
    before = [("no_exchange",), ("die", "pathlib", "Path.rename", 1, False)]
    assert ended(before, model, target, "torch_dist") == -signal.SIGKILL
    assert not target.exists()
    assert digest(target.with_name(f".{target.name}.replaced")) == old
    with pytest.raises(WorkbenchError, match="exists"):
        convert(model, target, "grouped", format="torch_dist")
    assert digest(target) == old
    assert [entry.name for entry in target.parent.iterdir() if "replaced" in entry.name] == []


@pytest.mark.parametrize("format", ["safetensors", "torch_dist"])
def test_a_file_that_may_not_grow(model, tmp_path, format):
    """A limit on the size of files stands for a full disk, and needs no root: writing on is an error of the system."""
    target, old, _ = targets(model, tmp_path)[format]
    for before in ([], [("no_kernel_copy",)]):
        assert ended([*before, ("limit", 2_000_000)], model, target, format) == 1
        said = model.with_name("errors").read_text()
        assert (
            said
            == f"{target} cannot be written: File too large: larger files are not allowed here; nothing was changed"
        )
        assert digest(target) == old
        assert [entry.name for entry in target.parent.iterdir()] == [target.name]


CALLS = [
    *(("safetensors", "write", number) for number in (1, 2)),
    *(("safetensors", "fsync", number) for number in (1, 2)),
    *(("torch_dist", "write", number) for number in (1, 2, 3, 4)),
    *(("torch_dist", "fsync", number) for number in (1, 2, 3, 4, 5)),
]


@pytest.mark.parametrize(("format", "name", "number"), CALLS)
def test_a_full_disk_at_any_call(model, tmp_path, monkeypatch, format, number, name):
    function, calls = getattr(os, name), 0

    def full(*arguments):
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*arguments)

    monkeypatch.setattr(os, name, full)
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    target = tmp_path / ("a.safetensors" if format == "safetensors" else "a")
    with pytest.raises(WorkbenchError) as caught:
        convert(model, target, "grouped", format=format)
    if (format, name, number) == ("safetensors", "fsync", 2):
        # The folder that it lies in, once it is there.
        assert str(caught.value).startswith(
            f"{target} is in place, whole and compared, and the system could not say that"
        )
        open_checkpoint(target)
    else:
        assert "cannot be written: No space left on device: free some space" in str(caught.value)
        assert list(tmp_path.iterdir()) == []


_PEAK = """
import os, sys, threading
from workbench.checkpoint.convert import convert
if sys.argv[3] == "torch_dist": import torch.distributed.checkpoint.metadata, torch.distributed.checkpoint.filesystem
def private():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
start, peak, over = private(), 0, threading.Event()
def watch():
    global peak
    while not over.wait(0.002): peak = max(peak, private())
thread = threading.Thread(target=watch); thread.start()
convert(sys.argv[1], sys.argv[2], sys.argv[4], format=sys.argv[3])
over.set(); thread.join()
print((peak - start) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(("format", "to"), [("safetensors", "grouped"), ("torch_dist", "gpt")])
def test_memory_is_bounded_by_blocks(tmp_path, format, to):
    """A tensor that is four times the limit, in pieces that must be gathered, goes through a few blocks' memory."""
    rows, columns = 2**14, 2**12
    path = tmp_path / "big.safetensors"
    shapes = {
        "self_attention.linear_qkv.weight": (48, columns),
        "self_attention.linear_proj.weight": (columns, 16),
    }
    data = np.zeros(rows * columns, np.float32)
    data[:: 2**10] = 1.0
    big = stored.contiguous(stored.MemoryBuffer(data.view(np.uint8)), 0, (rows, columns), "float32")
    tensors = {"embedding.word_embeddings.weight": big}
    tensors |= {f"decoder.layers.0.{name}": stored.in_memory(shape) for name, shape in shapes.items()}
    tensors["decoder.layers.1.mlp.linear_fc1.weight"] = stored.in_memory((64, columns))
    tensors["decoder.layers.1.mlp.linear_fc2.weight"] = stored.in_memory((columns, 64))
    write_safetensors(path, tensors)
    code = [sys.executable, "-c", _PEAK, str(path), str(tmp_path / "out"), format, to]
    done = subprocess.run(code, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert big.nbytes == 256 * 2**20
    assert int(done.stdout) < 64  # MiB
