"""Where a fused block spends host time, beside the block's own forward and the unfused twin: forward and backward of one batch.

    python benchmarks/host_profile.py '[*-]' ['[M-]' ...] [--repeat 24] [--trials 150] [--hidden 64] [--sequence 16] [--top 12]

Three models of one pattern from one seed: fused and lean (`workbench.fusion.lean`), fused with every block's own forward
("plain"), unfused. They must agree in loss and every gradient to the last bit before anything is timed. Then each of the
fused two runs in turn with the unfused one. Counts are a pair's: the step's, divided by the number of pairs. Backward runs in C++:
in the profile its time stands at the Python function that torch was in last (`apply`, `run_backward`).
"""

from __future__ import annotations

import argparse
import cProfile
import datetime
import os
import platform
import pstats
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.arch.sizes import ModelSizes
from workbench.compare.throughput.bootstrap import median_interval, speedup
from workbench.compare.throughput.counting import count_calls
from workbench.compare.throughput.memory import peak_bytes
from workbench.compare.throughput.timing import HostClock, alternate, once
from workbench.fusion import runtime
from workbench.fusion.lean.report import lean_blocks, run_lean
from workbench.fusion.model import build_model, forward_tokens
from workbench.fusion.names import canonical_parameters
from workbench.pattern.model import Pattern

SEED = 1234
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
NAMES = ("lean", "plain", "unfused")
ROUNDS = 9  # of the profile


@dataclass(frozen=True)
class Work:
    """What one forward and backward does for a pair, and bytes of the whole step at their highest."""

    python_calls: float
    module_calls: float
    operators: float
    peak: int


def main() -> None:
    """Print the tables of every pattern."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    sizes = ModelSizes(
        hidden_size=arguments.hidden,
        ffn_hidden_size=2 * arguments.hidden,
        max_sequence_length=max(64, arguments.sequence),
    )
    tokens = torch.randint(
        0, 128, (arguments.rows, arguments.sequence + 1), generator=torch.Generator().manual_seed(SEED)
    )
    for text in arguments.pattern:
        for line in _report(Pattern(text * arguments.repeat), text, sizes, tokens, arguments):
            print(line, flush=True)
    print(_machine(arguments))


def _report(
    pattern: Pattern, text: str, sizes: ModelSizes, tokens: torch.Tensor, arguments: argparse.Namespace
) -> Iterator[str]:
    models = {
        name: build_model(pattern if name != "unfused" else pattern.unfused(), sizes, seed=SEED) for name in NAMES
    }
    run_lean(models["plain"], False)
    steps = {name: _stepper(model, tokens) for name, model in models.items()}
    _check_same(models, steps)
    pairs = sum(block.fused for block in pattern.blocks)
    lean = sum(block.lean for block in lean_blocks(models["lean"]))
    yield f"\n## {text} × {arguments.repeat}: {pairs} pairs, {lean} lean; {sizes.hidden_size} hidden, {list(tokens.shape)} tokens\n"
    yield "| | ms a pair | unfused, ms a pair | speedup (95 %) | Python calls | modules | torch operators | peak MiB |"
    yield "|---|---:|---:|---|---:|---:|---:|---:|"
    works = {name: _work(steps[name], models[name], pairs) for name in NAMES}
    for name in NAMES[:2]:
        taken = alternate(
            once(steps[name]),
            once(steps["unfused"]),
            trials=arguments.trials,
            clock=HostClock(CLOCKS[arguments.clock]),
        )
        fused, unfused = taken.left["step"], taken.right["step"]
        ratio = speedup(fused, unfused, seed=SEED)
        ours, theirs = (1000 / pairs * median_interval(side, seed=SEED).median for side in (fused, unfused))
        yield f"| {name} | {ours:.3f} | {theirs:.3f} | {ratio.median:.3f} ({ratio.low:.3f}–{ratio.high:.3f}) | {_counts(works[name])}"
    yield f"| unfused | | | | {_counts(works['unfused'])}"
    yield f"\nMicroseconds a pair in each function itself, the least of {ROUNDS} steps, cProfile's own cost included:\n"
    yield from _side_by_side({name: _functions(steps[name], pairs) for name in NAMES}, arguments.top, "{:.1f}")
    yield "\ntorch operators a pair:\n"
    yield from _side_by_side({name: _operators(steps[name], pairs) for name in NAMES}, arguments.top, "{:.2f}")


def _stepper(model: Any, tokens: torch.Tensor) -> Callable[[], torch.Tensor]:
    parameters = list(model.parameters())

    def step() -> torch.Tensor:
        for parameter in parameters:
            parameter.grad = None
        loss = forward_tokens(model, tokens).mean()
        loss.backward()
        return loss.detach()

    return step


def _check_same(models: dict[str, Any], steps: dict[str, Callable[[], torch.Tensor]]) -> None:
    found = {}
    for name, step in steps.items():
        runtime.forget_models()
        runtime.seed(SEED)
        loss = step()
        gradients = {key: p.grad.clone() for key, p in canonical_parameters(models[name]).items() if p.grad is not None}
        found[name] = {"loss": loss} | gradients
    reference = found["unfused"]
    for name, results in found.items():
        if list(results) != list(reference):
            raise SystemExit(f"{name} and unfused have gradients of different names")
        different = [key for key in reference if not torch.equal(results[key], reference[key])]
        if different:
            raise SystemExit(f"{name} is not the function that unfused is: {', '.join(different[:5])}")


def _work(step: Callable[[], object], model: Any, pairs: int) -> Work:
    def whole() -> None:
        step()
        # What the step made goes again, so that the next one starts where it did.
        for parameter in model.parameters():
            parameter.grad = None

    calls = count_calls(step)
    whole()
    return Work(calls.python / pairs, calls.modules / pairs, sum(_operators(step, pairs).values()), peak_bytes(whole))


def _counts(work: Work) -> str:
    return f"{work.python_calls:.0f} | {work.module_calls:.1f} | {work.operators:.1f} | {work.peak / 2**20:.2f} |"


def _functions(step: Callable[[], object], pairs: int) -> Counter[str]:
    rounds = [_profiled(step) for _ in range(ROUNDS)]
    # The least, since whatever else runs here adds to a round and takes nothing from it.
    return Counter({name: 1e6 / pairs * min(found[name] for found in rounds) for name in rounds[-1]})


def _profiled(step: Callable[[], object]) -> Counter[str]:
    profile = cProfile.Profile()
    profile.enable()
    step()
    profile.disable()
    found: Counter[str] = Counter()
    for (file, line, function), (_, _, seconds, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        found[function if line == 0 else f"{Path(file).name}:{line} {function}"] += seconds
    return found


class _Counted(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[str(func)] += 1
        return func(*args, **(kwargs or {}))


def _operators(step: Callable[[], object], pairs: int) -> Counter[str]:
    with _Counted() as mode:
        step()
    return Counter({name: count / pairs for name, count in mode.found.items()})


def _side_by_side(found: dict[str, Counter[str]], top: int, form: str) -> Iterator[str]:
    """The rows that are the largest in one of the columns, those of the unfused twin first."""
    names = list(dict.fromkeys(key for name in reversed(NAMES) for key, _ in found[name].most_common(top)))
    yield f"| | {' | '.join(NAMES)} |"
    yield f"|---|{'---:|' * len(NAMES)}"
    for key in names:
        yield f"| {key} | {' | '.join(form.format(found[name][key]) for name in NAMES)} |"
    yield f"| all | {' | '.join(form.format(sum(found[name].values())) for name in NAMES)} |"


def _machine(arguments: argparse.Namespace) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "megatron-core"))
    return (
        f"\n{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, load {os.getloadavg()[0]:.1f}, "
        f"{arguments.threads} thread, {arguments.clock} time, Python {platform.python_version()}, {versions}, "
        f"{datetime.datetime.now(tz=datetime.UTC).date()}."
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pattern", nargs="+", help="a pattern of fused pairs, in quotes")
    parser.add_argument("--repeat", type=int, default=24, help="so many times the pattern (default: 24)")
    parser.add_argument("--trials", type=int, default=150, help="pairs of steps that are timed (default: 150)")
    parser.add_argument("--hidden", type=int, default=64, help="hidden size; the MLP is twice as wide (default: 64)")
    parser.add_argument("--sequence", type=int, default=16, help="tokens (default: 16)")
    parser.add_argument("--rows", type=int, default=1, help="sequences (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: 1)")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="default: wall")
    parser.add_argument("--top", type=int, default=12, help="rows of a profile, of each model (default: 12)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
