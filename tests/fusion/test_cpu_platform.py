"""The CPU platform: what it rebinds and why, masks as upstream's, random streams as upstream's, device literals."""

from __future__ import annotations

import re
from pathlib import Path

import megatron.core
import pytest
import torch
from megatron.core.transformer import utils as upstream_utils

from tests.fusion.building import build, run
from workbench.errors import WorkbenchError
from workbench.fusion import cpu_platform
from workbench.fusion.cpu_platform import (
    Substitute,
    _causal_mask,
    _sliding_window_mask,
    cuda_literals_on_cpu,
    install,
    installed,
    substitutes,
)
from workbench.fusion.cpu_rng import CpuRNGStatesTracker
from workbench.fusion.upstream import has_cuda

ROOT = Path(megatron.core.__file__).parent
on_cpu = pytest.mark.skipif(has_cuda(), reason="a CUDA device is here: the CPU platform is never installed")


@pytest.mark.parametrize("entry", substitutes(), ids=lambda entry: f"{entry.name} {entry.upstream}")
def test_the_upstream_line_of_a_substitute_asks_for_what_it_is_said_to(entry: Substitute) -> None:
    file, _, line = entry.upstream.partition(":")
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    around = "\n".join(lines[max(0, int(line) - 16) : int(line) + 15])
    assert re.search(rf"cuda|fp8|{re.escape(entry.name)}", around, re.IGNORECASE), around


def test_a_substitute_says_itself_in_one_line() -> None:
    first = substitutes()[0]
    assert str(first) == "torch.cuda.current_device: the device of new tensors (transformer/attention.py:530)"


def test_no_name_is_rebound_twice() -> None:
    names = [(id(entry.owner), entry.name) for entry in substitutes()]
    assert len(set(names)) == len(names)


@on_cpu
def test_a_second_install_changes_nothing() -> None:
    assert installed()
    before = [getattr(entry.owner, entry.name) for entry in substitutes()]
    install()
    assert all(getattr(entry.owner, entry.name) is value for entry, value in zip(substitutes(), before, strict=True))


# --------------------------------------------------------------------------------------------- masks


@on_cpu
@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_the_causal_mask_is_upstreams(length: int) -> None:
    with cuda_literals_on_cpu():
        expected = upstream_utils.get_default_causal_mask(length)
    assert _causal_mask(length).dtype == expected.dtype == torch.bool
    assert torch.equal(_causal_mask(length), expected)


@on_cpu
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (5, 5), (8, 8), (3, 8), (1, 9)])
@pytest.mark.parametrize("window", [(0, 0), (2, 0), (3, 1), (100, 0), (1, 100)])
def test_the_sliding_window_mask_is_upstreams(queries: int, keys: int, window: tuple[int, int]) -> None:
    with cuda_literals_on_cpu():
        expected = upstream_utils.get_sliding_window_causal_mask(queries, keys, window)
    assert torch.equal(_sliding_window_mask(queries, keys, window), expected)


@on_cpu
def test_a_sliding_window_changes_what_a_model_computes() -> None:
    plain, windowed = run(build("[*-][*-]")), run(build("[*-][*-]", window_size=(3, 0)))
    assert torch.equal(plain.losses[:, :4], windowed.losses[:, :4])
    assert not torch.equal(plain.losses, windowed.losses)
    assert torch.equal(windowed.losses, run(build("*-*-", window_size=(3, 0))).losses)


def test_a_mask_that_was_handed_out_is_not_changed_by_its_use() -> None:
    before = _causal_mask(16).clone()
    run(build("[*-]"))
    assert torch.equal(_causal_mask(16), before)


# ------------------------------------------------------------------------------------ device literals


@on_cpu
def test_device_literals_mean_the_cpu_inside_and_cuda_outside() -> None:
    with cuda_literals_on_cpu():
        assert torch.zeros(2, device="cuda").device.type == "cpu"
        assert torch.zeros(2, device=torch.device("cuda", 0)).device.type == "cpu"
        assert torch.zeros(2).cuda().device.type == "cpu"
        assert torch.zeros(2).to("cuda:0").device.type == "cpu"
        assert torch.zeros(2).to(device="cuda", dtype=torch.bfloat16).dtype == torch.bfloat16
        assert torch.zeros(2).type() == "torch.cuda.FloatTensor"
        assert torch.zeros(2).type(torch.float64).dtype == torch.float64
    assert torch.zeros(2).type() == "torch.FloatTensor"
    with pytest.raises((RuntimeError, AssertionError)):
        torch.zeros(2, device="cuda")


def test_where_the_platform_is_not_installed_literals_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_platform, "_replaced", [])
    with cuda_literals_on_cpu():
        assert torch.zeros(2).type() == "torch.FloatTensor"


def test_streams_and_events_wait_for_nothing() -> None:
    stream = cpu_platform._Stream()
    assert stream.query()
    assert stream == cpu_platform._Stream()
    assert stream.record_event() is stream
    assert len({stream, cpu_platform._Stream()}) == 1
    stream.synchronize()
    stream.wait_event(stream)
    stream.wait_stream(stream)


# --------------------------------------------------------------------------------------- random streams


def tracker() -> CpuRNGStatesTracker:
    found = CpuRNGStatesTracker()
    found.add("one", 1)
    found.add("two", 2)
    return found


def draw() -> float:
    return float(torch.rand(()))


def drawn(streams: CpuRNGStatesTracker, name: str) -> float:
    with streams.fork(name):
        return draw()


def expected(seed: int, count: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return [float(torch.rand((), generator=generator)) for _ in range(count)]


def test_a_stream_is_a_generator_of_its_seed_and_goes_on_between_forks() -> None:
    streams = tracker()
    assert [drawn(streams, "one"), drawn(streams, "two"), drawn(streams, "one")] == [
        expected(1, 1)[0],
        expected(2, 1)[0],
        expected(1, 2)[1],
    ]


def test_a_fork_leaves_the_default_generator_where_it_was() -> None:
    streams = tracker()
    torch.manual_seed(9)
    assert [draw(), drawn(streams, "one"), draw()] == [expected(9, 2)[0], expected(1, 1)[0], expected(9, 2)[1]]


def test_a_fork_inside_a_fork() -> None:
    streams = tracker()
    torch.manual_seed(9)
    found = []
    with streams.fork("one"):
        found.append(draw())
        with streams.fork("two"):
            found.append(draw())
        found.append(draw())
    found.append(draw())
    assert found == [expected(1, 1)[0], expected(2, 1)[0], expected(1, 2)[1], expected(9, 1)[0]]
    assert drawn(streams, "one") == expected(1, 3)[2]


def test_a_fork_of_the_stream_that_is_drawn_from_goes_on_in_it() -> None:
    streams = tracker()
    with streams.fork("one"):
        found = [draw()]
        with streams.fork("one"):
            found.append(draw())
        found.append(draw())
    assert found == expected(1, 3)


def test_a_fork_that_fails_restores_the_stream() -> None:
    streams = tracker()
    torch.manual_seed(9)

    def fail() -> None:
        with streams.fork("one"):
            draw()
            raise KeyError("on purpose")

    with pytest.raises(KeyError):
        fail()
    assert draw() == expected(9, 1)[0]
    assert drawn(streams, "one") == expected(1, 2)[1]


def test_states_can_be_taken_and_set_again() -> None:
    streams = tracker()
    states = streams.get_states()
    first = drawn(streams, "one")
    assert drawn(streams, "one") != first
    streams.set_states(states)
    assert drawn(streams, "one") == first


@pytest.mark.parametrize(
    ("name", "seed", "text"),
    [
        ("three", 2, "random stream 'three': seed 2 belongs to another stream already"),
        ("two", 3, "random stream 'two' exists already"),
    ],
)
def test_a_name_or_a_seed_that_is_taken_is_an_error(name: str, seed: int, text: str) -> None:
    with pytest.raises(WorkbenchError) as error:
        tracker().add(name, seed)
    assert str(error.value) == text


def test_a_stream_that_was_never_added_is_an_error() -> None:
    with pytest.raises(WorkbenchError) as error:
        drawn(tracker(), "three")
    assert str(error.value) == "random stream 'three' was never added: seed the runtime before building a model"
