"""`workbench train`: what it says, what it writes, what it refuses before torch is imported; a real run at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch

from workbench.cli.train import resume_command
from workbench.compare.training.record import Baseline, Evaluation, Step, TrainingRun
from workbench.compare.training.settings import TrainingSettings
from workbench.compare.training.watching import Start

BASELINES = (Baseline("uniform", 5.5452, 0.004), Baseline("unigram", 3.1, 0.2), Baseline("bigram", 2.5, 0.3))
STEPS = tuple(Step(number, 5.0 - number, 1.0, 1e-3, 1024 * number, 0.5, 2**20) for number in (1, 2, 3))
RUN = TrainingRun(
    pattern="M[*-]",
    parameters=1234,
    settings={"rows": 8, "micro_batches": 1, "dtype": "fp32", "seed": 1234},
    data={"name": "stdlib", "train_bytes": 100},
    steps=STEPS,
    evaluations=(Evaluation(2, 2.75, 0.25, 0.1), Evaluation(3, 2.0, 0.5, 0.1)),
    baselines=BASELINES,
    environment={"threads": 1},
)


@pytest.fixture
def fake_train(monkeypatch):
    """Training replaced: `run` is what it returns, `calls` what it was asked; no torch is needed."""
    loop, opening = ModuleType("workbench.compare.training.loop"), ModuleType("workbench.compare.data.opening")
    stopping = ModuleType("workbench.compare.training.stopping")
    loop.run, loop.calls = RUN, []

    class TrainingStopped(KeyboardInterrupt):
        pass

    def train(pattern, data, settings, *, watchers, **options):
        loop.calls.append((str(pattern), data, settings, options))
        start = Start(
            loop.run.pattern, loop.run.parameters, 3, loop.run.settings, loop.run.data, BASELINES, plan="3 steps"
        )
        for watcher in watchers:
            watcher.begin(start)
            for point in sorted([*loop.run.steps, *loop.run.evaluations], key=lambda point: point.step):
                watcher(point)
        if loop.run is not RUN:
            raise TrainingStopped("stopped by SIGINT after step 3 of 9")
        return loop.run

    loop.train = train
    stopping.TrainingStopped = TrainingStopped
    opening.open_data = lambda text, *, sequence, seed: (text, sequence, seed)
    for module in (loop, opening, stopping):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return loop


def test_what_is_said(run, fake_train):
    done = run("train", "M[*-]", "--minutes", "2")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[:5] == [
        "training M[*-]: 1,234 parameters on stdlib, 8 sequences a step, fp32, seed 1234",
        "baselines, test loss in nats: uniform 5.5452, unigram 3.1000, bigram 2.5000",
        "planned: 3 steps",
        "step 2 of 3: test loss 2.7500, accuracy 25.0%",
        "step 3 of 3: test loss 2.0000, accuracy 50.0%",
    ]
    for line in (
        "  predictor  test loss (nats)  bits a byte  accuracy",
        "  bigram               2.5000       3.6067     30.0%",
        "  M[*-]                2.0000       2.8854     50.0%",
    ):
        assert line in done.out.splitlines()
    assert "2,048 tokens a second" in done.out
    assert done.out.splitlines()[-1] == "below the bigram baseline by 0.500 nats"


def test_the_defaults(run, fake_train):
    run("train", "M[*-]")
    (pattern, data, settings, options) = fake_train.calls[0]
    assert (pattern, data) == ("M[*-]", ("stdlib", None, 1234))
    assert settings == TrainingSettings(steps=500, evaluate_every=63)
    assert options.pop("sizes").hidden_size == 128
    assert options == {"directory": None, "resume": False, "minutes": None}


def test_every_option_is_passed_on(run, fake_train, tmp_path):
    (tmp_path / "sizes.json").write_text('{"hidden_size": 32}')
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    done = run(
        *("train", "-M", "--sizes", "sizes.json", "--steps", "9", "--rows", "2", "--micro-batches", "3", "--seed", "0"),
        *("--learning-rate", "0.01", "--warmup", "4", "--clip-grad", "0", "--evaluate-every", "5", "--dtype", "bf16"),
        *("--backend", "local", "--data", "mqar", "--sequence", "64", "--directory", "run", "--resume", "--quiet"),
        *("--threads", "1"),
    )
    assert (done.status, done.out, done.err) == (0, "below the bigram baseline by 0.500 nats\n", "")
    (pattern, data, settings, options) = fake_train.calls[0]
    assert (pattern, data) == ("-M", ("mqar", 64, 0))
    assert settings == TrainingSettings(
        steps=9,
        rows=2,
        micro_batches=3,
        seed=0,
        learning_rate=0.01,
        min_learning_rate=0.001,
        warmup_steps=4,
        clip_grad=0.0,
        evaluate_every=5,
        dtype="bf16",
        backend="local",
    )
    assert options.pop("sizes").hidden_size == 32
    assert options == {"directory": "run", "resume": True, "minutes": None}


def test_json(run, fake_train, tmp_path):
    done = run("train", "M[*-]", "--json", "--output", "run.json", "--chart", "run.svg")
    data = json.loads(done.out)
    assert {name: data[name] for name in ("schema", "steps", "train_loss", "test_loss")} == {
        "schema": "workbench.training/1",
        "steps": 3,
        "train_loss": 2.0,
        "test_loss": 2.0,
    }
    assert [entry["name"] for entry in data["baselines"]] == ["uniform", "unigram", "bigram"]
    assert TrainingRun.from_json(data) == RUN
    assert json.loads((tmp_path / "run.json").read_text()) == data
    assert "<svg" in (tmp_path / "run.svg").read_text()
    assert "step 3 of 3" in done.err


@pytest.mark.parametrize("identical", [True, False])
def test_twins(run, fake_train, monkeypatch, tmp_path, identical):
    module = ModuleType("workbench.compare.training.twins")
    module.calls = []

    def train_twins(pattern, against, *, watchers, **options):
        module.calls.append((str(pattern), against and str(against), options["minutes"]))
        for watcher in watchers:
            for side in ("left", "right"):
                watcher.begin(Start(side, 1, 3, RUN.settings, RUN.data, BASELINES), side)
            for side in ("left", "right"):
                watcher(RUN.evaluations[1], side)
        return SimpleNamespace(
            left=RUN,
            right=replace(RUN, pattern="M*-"),
            identical=identical,
            first_difference=2,
            largest_loss_difference=0.25,
            largest_grad_norm_difference=0.5,
            stopped_by=None,
            to_json=lambda: {"identical": identical},
        )

    module.train_twins = train_twins
    monkeypatch.setitem(sys.modules, module.__name__, module)
    done = run("train", "M[*-]", "--twin", "--chart", "twins.svg")
    assert module.calls == [("M[*-]", None, None)]
    assert done.status == (0 if identical else 1)
    assert "step 3 of 3: test loss 2.0000, accuracy 50.0% (right)" in done.out
    assert done.out.splitlines()[-1] == (
        "M[*-] and M*-: every loss and gradient norm of 3 steps has the same bits"
        if identical
        else "M[*-] and M*- differ from step 2: losses by up to 0.25, gradient norms by up to 0.5"
    )
    assert "M*-" in (tmp_path / "twins.svg").read_text()
    assert json.loads(run("train", "M[*-]", "--against", "M*-", "--json").out) == {"identical": identical}


def test_with_minutes_the_quicker_thread_count_is_taken(run, fake_train, monkeypatch):
    budget, learner = ModuleType("workbench.compare.training.budget"), ModuleType("workbench.compare.training.learner")
    asked = []

    def seconds_by_threads(pattern, sizes, data, settings, candidates):
        asked.append(candidates)
        return dict.fromkeys(candidates, 9.0) | {1: 0.5}

    budget.seconds_by_threads = seconds_by_threads
    learner.sizes_for = lambda sizes, data: sizes
    for module in (budget, learner):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        done = run("train", "M", "--minutes", "1")
        assert (asked, torch.get_num_threads()) == ([(2, 1)], 1)
        assert done.out.splitlines()[0] == "threads: 1 (2: 9000 ms a step, 1: 500 ms a step)"
        torch.set_num_threads(2)
        for arguments in (("--steps", "1"), ("--minutes", "1", "--threads", "2")):
            run("train", "M", *arguments)
            assert (len(asked), torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(before)


def test_a_resumed_run_has_the_threads_that_it_began_with(run, fake_train, tmp_path):
    stored = {
        "schema": "workbench.run/1",
        "symbols": "M",
        "sizes": {},
        "settings": {},
        "data": {},
        "environment": {"threads": 2},
    }
    (tmp_path / "run.json").write_text(json.dumps(stored))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert run("train", "M", "--directory", ".", "--resume", "--minutes", "1").status == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_interrupted_run_says_how_to_go_on(run, fake_train):
    fake_train.run = replace(RUN, environment={})
    done = run("train", "-M*", "--directory", "a run")
    assert done.status == 130
    assert done.err.splitlines() == [
        "workbench: stopped by SIGINT after step 3 of 9",
        "  workbench train '-M*' --directory 'a run' --resume",
    ]


def test_the_command_that_resumes_asks_to_resume_once():
    assert resume_command(Namespace(argv=("train", "M", "--resume"))) == "workbench train M --resume"


def test_the_command_that_resumes_asks_for_it_where_options_are_read():
    words = ("train", "--directory", "run", "--", "-M")
    assert resume_command(Namespace(argv=words)) == "workbench train --directory run --resume -- -M"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs a pattern"),
        ([""], "an empty pattern has no layers"),
        (["M["], "unclosed-group"),
        (["M", "--against", "M["], "unclosed-group"),
        (["M", "--against", "*"], "M and * are no twins"),
        (["M", "--twin"], "M and its twin are one pattern, and equal bits would say nothing"),
        (["M-", "--twin"], "with brackets it is [M-]"),
        (["[M-]", "--against", "[M-]"], "[M-] and its twin are one pattern"),
        (["M", "--sizes", "missing.json"], "missing.json: No such file or directory"),
        (["M", "--output", "old"], "old exists already"),
        (["M", "--chart", "new.png"], "--chart writes SVG"),
        (["M", "--resume"], "--resume needs --directory"),
        (["M", "--resume", "--directory", "none"], "there is no such directory"),
        (["M", "--resume", "--directory", "."], "there is no run.json"),
        (["M", "--directory", "kept"], "holds a run already"),
        (["[M-]", "--twin", "--directory", "new"], "does not go with --directory"),
        (["M", "--steps", "1", "--minutes", "1"], "not allowed with"),
        (["M", "--steps", "0"], "expected a whole number of at least 1, not '0'"),
        (["M", "--threads", "1000000"], "expected at most 1024 threads, not 1000000"),
        (["M", "--minutes", "0"], "expected a number above 0, not '0'"),
        (["M", "--learning-rate", "nan"], "expected a number above 0, not 'nan'"),
        (["M", "--dtype", "fp8"], "invalid choice: 'fp8'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_built(run, fake_train, tmp_path, arguments, said):
    (tmp_path / "old").write_text("mine")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/run.json").write_text("{}")
    done = run("train", *arguments)
    assert done.status == 2
    assert said in done.err
    assert fake_train.calls == []


def test_bad_input_needs_no_torch(repo_root):
    code = (
        "import sys; from workbench.cli import main; status = main(['train', 'M', '--resume']); "
        "sys.exit(status if not {'torch', 'megatron', 'numpy'} & set(sys.modules) else 99)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=repo_root, capture_output=True).returncode == 2


def test_too_little_memory_is_said_without_a_traceback(run, monkeypatch):
    def refuse(*_, **__):
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr("workbench.compare.data.opening.open_data", refuse)
    done = run("train", "M", "--data", "mqar", "--sequence", "9" * 12)
    assert (done.status, done.out) == (2, "")
    assert done.err == "workbench: error: not enough memory: Unable to allocate 7 TiB\n"
