from dataclasses import replace

import pytest
import torch

from workbench.compare.throughput import measure
from workbench.compare.throughput.counting import count_calls
from workbench.compare.throughput.measure import throughput
from workbench.compare.throughput.result import PHASES, NotTheSame
from workbench.compare.throughput.timing import WARM_UP, Pairs
from workbench.compare.throughput.twin import Twin
from workbench.errors import WorkbenchError


@pytest.fixture
def fake_times(monkeypatch):
    """Steps are taken, and their times are made up: 10 ms, or what `fused_ms` says, split 3 : 6 : 1."""

    def set_times(fused_ms, unfused_ms):
        def time_twins(fused, unfused, **_):
            sides = []
            for twin, times in ((fused, fused_ms), (unfused, unfused_ms)):
                twin.prepared_step()
                shares = {"forward": 0.3, "backward": 0.6, "optimizer": 0.1, "step": 1.0}
                sides.append({name: tuple(share * time / 1000 for time in times) for name, share in shares.items()})
            return Pairs(*sides)

        monkeypatch.setattr(measure, "time_twins", time_twins)

    return set_times


def test_a_whole_measurement():
    told = []
    found = throughput(
        "[*-]M", regimes=("host",), trials=6, seed=5, threads=1, progress=lambda *seen: told.append(seen)
    )
    (host,) = found.regimes
    assert (found.fused, found.unfused, host.name, host.trials, host.threads) == ("[*-]M", "*-M", "host", 6, 1)
    assert [phase.name for phase in host.phases] == list(PHASES)
    for phase in host.phases:
        for interval in (phase.fused_ms, phase.unfused_ms, phase.speedup):
            assert 0 < interval.low <= interval.median <= interval.high
    # One step before anything is measured, two are counted, eight run under the profiler, then warm-up and trials.
    assert host.equal_steps == 1 + 2 + 8 + WARM_UP + 6
    assert 0 < host.host_share < 1
    assert host.loss == pytest.approx(torch.tensor(128.0).log().item(), abs=0.5)
    assert (host.fused.blocks, host.unfused.blocks) == (2, 3)
    assert host.fused.module_calls < host.unfused.module_calls
    assert 0 < host.fused.python_calls < host.unfused.python_calls
    assert host.fused.peak_memory_bytes > 0
    assert (host.fused.lean_blocks, host.unfused.lean_blocks) == (1, 0)
    assert told[-1] == ("host", 1.0)
    environment = found.environment
    assert (environment["seed"], environment["dtype"], environment["backend"]) == (5, "fp32", "local")
    assert found.to_json()["speedup"] == {
        name: getattr(host.phase("step").speedup, name) for name in ("median", "low", "high")
    }
    assert found.to_json()["peak_memory"]["unfused"] == host.unfused.peak_memory_bytes


def test_the_same_model_against_itself_shows_no_difference(fake_times):
    """Both do exactly the same; times that differ by chance alone are not called a speedup."""
    times = [10 + 0.3 * ((7 * place) % 5) for place in range(40)]
    fake_times(times, times[1:] + times[:1])
    found = throughput("*-", "*-", regimes=("host",), trials=40)
    (host,) = found.regimes
    assert replace(host.fused, pattern="") == replace(host.unfused, pattern="")
    assert {phase.speedup.outcome for phase in host.phases} == {"no measurable difference"}


def test_a_difference_of_a_tenth_is_found(fake_times):
    times = [10 + 0.1 * (place % 5) for place in range(40)]
    fake_times(times, [1.1 * time for time in times])
    (host,) = throughput("[*-]", regimes=("host",), trials=40).regimes
    step = host.phase("step")
    assert step.speedup.outcome == "faster"
    assert step.speedup.median == pytest.approx(1.1)
    assert host.phase("forward_backward").fused_ms.median == pytest.approx(0.9 * step.fused_ms.median)


@pytest.mark.parametrize("late", [False, True])
def test_twins_that_are_not_the_same_function_are_refused(monkeypatch, late):
    """A row of weights of one twin is off by a thousandth: at once, or only while the clock runs."""

    class Tampered(Twin):
        def prepare(self):
            if self.pattern.counts["fused"] and len(self.results) == (13 if late else 0):
                self.trainer.model.module.output_layer.weight.data[0] *= 1.001
            super().prepare()

    monkeypatch.setattr(measure, "Twin", Tampered)
    with pytest.raises(NotTheSame, match="the two are not the same function") as caught:
        throughput("[*-]", regimes=("host",), trials=6)
    measured = caught.value.measured
    assert measured["step"] == (13 if late else 0)
    assert measured["fused"] != measured["unfused"]
    assert repr(measured["fused"]["loss"]) in str(caught.value)


def test_plain_fused_blocks_are_measured_apart(monkeypatch):
    """The third twin has the fused blocks, and does not run them lean: it calls the modules in them."""
    built = []

    class Noted(Twin):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            built.append(self)

    monkeypatch.setattr(measure, "Twin", Noted)
    told = []
    found = throughput("[*-]", regimes=("host",), trials=6, plain=True, progress=lambda name, _: told.append(name))
    assert [phase.name for phase in found.regimes[0].plain] == list(PHASES)
    assert [str(twin.pattern) for twin in built] == ["[*-]", "*-", "[*-]", "*-"]
    lean, _, plain, _ = built
    assert (lean.lean_blocks(), plain.lean_blocks()) == (1, 0)
    for twin in (lean, plain):
        twin.prepare()
    assert count_calls(plain.step).modules > count_calls(lean.step).modules
    assert set(told) == {"host", "host, plain"}


def test_threads_are_given_back(fake_times):
    fake_times([10.0] * 6, [10.0] * 6)
    torch.set_num_threads(2)
    (host,) = throughput("[*-]", regimes=("host",)).regimes
    assert (host.threads, torch.get_num_threads()) == (1, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"regimes": ("hosts",)}, "regime must be one of host, compute, not 'hosts'"),
        ({"regimes": ()}, "no regime is given"),
        ({"trials": 5}, "trials must be a whole number of at least 6 pair"),
        ({"seconds": 0.0}, "seconds must be a number above 0"),
        ({"seconds": float("nan")}, "seconds must be a number above 0"),
        ({"backend": "fast"}, "backend"),
        ({"clock": "sun"}, "clock must be one of wall, cpu"),
        ({"clock": "cpu", "threads": 2}, "CPU time is that of a step only with one thread, and the host regime has 2"),
    ],
)
def test_bad_options(options, said):
    with pytest.raises(WorkbenchError, match=said):
        throughput("[*-]", **options)
