"""Real files with bytes changed, lost or added: a reader either finds what was there or raises `WorkbenchError`, nothing else."""

from __future__ import annotations

import argparse
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from workbench.checkpoint.opening import open_checkpoint
from workbench.checkpoint.reading.pickles import load
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError

STATE = {
    "model": OrderedDict(
        a=torch.arange(6.0).reshape(2, 3), b=torch.arange(6.0).reshape(2, 3).t(), c=torch.ones(2).bfloat16()
    ),
    "args": argparse.Namespace(hidden_size=64, dtype=torch.bfloat16, rng=np.arange(3)),
    "iteration": 5,
    "raw": io.BytesIO(b"state"),
}
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def torch_bytes(**options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(STATE, stream, **options)
    return stream.getvalue()


FILES: dict[str, bytes] = {
    "zip": torch_bytes(),
    "zip, protocol 4": torch_bytes(pickle_protocol=4),
    "legacy": torch_bytes(_use_new_zipfile_serialization=False),
    "safetensors": save({name: tensor.contiguous() for name, tensor in STATE["model"].items()}, {"format": "pt"}),  # type: ignore[attr-defined]
}
PICKLES = {f"protocol {protocol}": pickle.dumps([{"a": (1, 2.5)}, "x", b"y"] * 3, protocol) for protocol in range(6)}


@st.composite
def changes(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Bytes flipped, set, cut out, doubled or cut off."""
    steps = draw(
        st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1), st.integers(0, 255), st.integers(1, 40)), max_size=3)
    )
    steps.append(draw(st.tuples(st.integers(0, 5), st.floats(0, 1), st.integers(0, 255), st.integers(1, 40))))

    def change(data: bytes) -> bytes:
        for kind, place, value, length in steps:
            at = int(place * max(len(data) - 1, 0))
            match kind:
                case 0:
                    data = data[:at] + bytes([data[at] ^ (1 << value % 8)]) + data[at + 1 :] if data else data
                case 1:
                    data = data[:at] + bytes([value]) + data[at + 1 :]
                case 2:
                    data = data[:at] + data[at + length :]
                case 3:
                    data = data[:at] + data[at : at + length] + data[at:]
                case 4:
                    data = data[:at]
                case 5:
                    data = data[:at] + bytes([value]) * length + data[at + length :]
        return data

    return change


def everything(opened: Checkpoint) -> None:
    """Look at all that a reader gives."""
    for name in opened.names:
        assert opened[name].bits().shape == opened.shape(name)
        opened.read(name)
    for held in opened.objects.values():
        held.read()
    repr(opened)
    repr(opened.values)


@contextmanager
def only_errors_about(where: str) -> Iterator[None]:
    try:
        yield
    except WorkbenchError as error:
        if where not in str(error):
            raise AssertionError(f"the message does not name {where}") from error


@pytest.mark.parametrize("name", FILES)
def test_an_unchanged_file(tmp_path, name):
    (tmp_path / "a").write_bytes(FILES[name])
    opened = open_checkpoint(tmp_path / "a")
    everything(opened)
    assert len(opened.names) == (3 if name == "safetensors" else 4)


@pytest.mark.parametrize("name", FILES)
@QUICK
@given(changes())
def test_any_change(tmp_path, name, change):
    file: Path = tmp_path / "a"
    file.write_bytes(change(FILES[name]))
    with only_errors_about(str(file)):
        everything(open_checkpoint(file))


@pytest.mark.parametrize("name", PICKLES)
@QUICK
@given(changes())
def test_any_change_of_a_pickle(name, change):
    with only_errors_about("file "):
        load(change(PICKLES[name]), "file")


@QUICK
@given(st.binary(max_size=60))
@example(b"\x80\x02}q\x00.")
def test_any_bytes_as_a_pickle(data):
    with only_errors_about("file "):
        load(data, "file")


BARE = b"(.012NRbaesut)]}ldoQ\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94"
OPCODES = st.sampled_from(
    [
        *(bytes([code]) for code in BARE),
        *(b"K\1", b"h\0", b"q\0", b"X\1\0\0\0a", b"C\1a", b"\x8c\1a", b"\x8a\1\5"),
        *(b"p0\n", b"g0\n", b"I1\n", b"F1.5\n", b"Pa\n", b"icollections\nOrderedDict\n"),
        *(b"ccollections\nOrderedDict\n", b"cargparse\nNamespace\n", b"c_codecs\nencode\n", b"c__builtin__\nset\n"),
    ]
)


@QUICK
@given(st.lists(OPCODES, max_size=40))
def test_any_program(program):
    """Opcodes in any order, calls and states among them: what comes out is an error or plain data, and nothing hangs."""
    data = b"".join(program) + b"."
    with only_errors_about("file "):
        load(data, "file", {("argparse", "Namespace")}, persistent=lambda given: ["elsewhere"])
    assert load(pickle.dumps(OrderedDict(a={1})), "file") == {"a": [1]}
