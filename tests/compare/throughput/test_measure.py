import gc
from dataclasses import replace

import pytest
import torch

from workbench.arch.sizes import ModelSizes
from workbench.compare.throughput import measure
from workbench.compare.throughput.counting import count_calls
from workbench.compare.throughput.measure import throughput
from workbench.compare.throughput.regimes import REGIMES, problem
from workbench.compare.throughput.result import PHASES, NotTheSame
from workbench.compare.throughput.timing import WARM_UP, Pairs
from workbench.compare.throughput.twin import Twin, check_same, check_same_weights
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.pattern.model import Pattern


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


def twins(*patterns, **changes):
    runtime.require_single_process()
    posed = replace(problem("host"), **changes)
    return [Twin(Pattern(text), posed, seed=1, dtype="fp32", backend="local") for text in patterns]


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
    # One step before anything is measured, two are counted, four run under the profiler, then warm-up and trials.
    assert host.equal_steps == 1 + 2 + 4 + WARM_UP + 6
    assert 0 < host.host_share < 1
    assert host.loss == pytest.approx(torch.tensor(128.0).log().item(), abs=0.5)
    assert (host.fused.blocks, host.unfused.blocks) == (2, 3)
    assert host.fused.module_calls < host.unfused.module_calls
    assert 0 < host.fused.python_calls < host.unfused.python_calls
    assert host.fused.peak_memory_bytes > 0
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
            if self.pattern.counts["fused"] and len(self.results) == (9 if late else 0):
                self.trainer.model.module.output_layer.weight.data[0] *= 1.001
            super().prepare()

    monkeypatch.setattr(measure, "Twin", Tampered)
    with pytest.raises(NotTheSame, match="the two are not the same function") as caught:
        throughput("[*-]", regimes=("host",), trials=6)
    measured = caught.value.measured
    assert measured["step"] == (9 if late else 0)
    assert measured["fused"] != measured["unfused"]
    assert repr(measured["fused"]["loss"]) in str(caught.value)


def test_the_last_bit_of_one_weight_is_seen():
    pair = twins("[*-]", "*-")
    check_same_weights(*pair)
    weight = pair[0].trainer.model.module.output_layer.weight.data
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(1.0))
    with pytest.raises(NotTheSame, match=r"after 0 steps, 1 of \d+ weights are not the same bits") as caught:
        check_same_weights(*pair)
    assert caught.value.measured["differing"] == ["output_layer.weight"]


def test_dropout_draws_the_same_in_both():
    sizes = ModelSizes(hidden_dropout=0.2, attention_dropout=0.1)
    pair = twins("[*-]", "*-", sizes=sizes)
    for _ in range(2):
        for twin in pair:
            twin.prepared_step()
    check_same(*pair)
    assert pair[0].results[0] != pair[0].results[1]


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
    for twin in (lean, plain):
        twin.prepare()
    assert count_calls(plain.step).modules > count_calls(lean.step).modules
    assert set(told) == {"host", "host, plain"}


def test_phases_are_marked_where_they_end():
    (twin,) = twins("[*-]")
    twin.prepare()
    seen = []

    def mark():
        parameter = next(twin.trainer.model.parameters())
        seen.append((bool(parameter.main_grad.any()), len(twin.results)))

    twin.step(mark)
    # No gradient after the forward, gradients and no step yet after the backward.
    assert seen == [(False, 0), (True, 0)]


def test_module_calls_are_those_that_hooks_see():
    (twin,) = twins("*-M")
    twin.prepared_step()
    calls = []
    handle = torch.nn.modules.module.register_module_forward_pre_hook(lambda module, _: calls.append(module))
    twin.prepared_step()
    handle.remove()
    twin.prepare()
    assert count_calls(twin.step).modules == len(calls) > 10


def test_the_state_of_the_process_is_given_back():
    torch.set_num_threads(2)
    throughput("[*-]", regimes=("host",), trials=6)
    assert torch.get_num_threads() == 2
    assert gc.isenabled()


def test_sizes_replace_those_of_a_regime():
    sizes = ModelSizes(hidden_size=32, max_sequence_length=40)
    assert problem("compute", sizes).sequence == 40
    assert problem("host", sizes).sequence == REGIMES["host"].sequence
    assert (problem("host", sizes).sizes, problem("host", threads=3).threads) == (sizes, 3)


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
