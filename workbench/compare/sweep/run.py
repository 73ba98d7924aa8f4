"""`sweep`: patterns at equal cost, several seeds each, trained on the same data with the same settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from workbench.arch.sizes import ModelSizes
from workbench.compare.data.batch import Data
from workbench.compare.sweep.result import Entrant, Sweep
from workbench.compare.training.defaults import TRAINING_SIZES
from workbench.compare.training.learner import sizes_for
from workbench.compare.training.loop import train
from workbench.compare.training.record import TrainingRun
from workbench.compare.training.settings import TrainingSettings
from workbench.compare.training.watching import Watcher
from workbench.cost.matching import Matched, match
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern


def sweep(
    patterns: Sequence[Pattern | str],
    data: Data,
    settings: TrainingSettings,
    *,
    sizes: ModelSizes | None = None,
    equal: str = "parameters",
    target: float | None = None,
    tolerance: float = 0.03,
    seeds: Sequence[int] = (1, 2, 3),
    progress: Callable[[int, int, str], object] | None = None,
    watchers: Callable[[str, int], Sequence[Watcher]] | None = None,
) -> Sweep:
    """Train every pattern once a seed; the result holds every run with all its points.

    `sizes`, `equal`, `target` and `tolerance` are those of `workbench.cost.matching.match`, with the vocabulary and the
    sequence length of the data. A seed decides a run's initial weights; batches and test set are the same for all runs.
    `progress` is told (runs done, of how many, which one comes next); `watchers` gives those of a (pattern, seed).
    All pairs of pattern and cost are solved before the first is trained. Raises `WorkbenchError` for a pattern that cannot be
    brought to the cost, is given twice, or for seeds that are none.
    """
    names = [str(Pattern(pattern)) for pattern in patterns]
    for what, given in (("pattern", names), ("seed", list(map(str, seeds)))):
        if not given or len(set(given)) < len(given):
            raise WorkbenchError(f"a sweep needs every {what} once, not {', '.join(given) or 'none'}")
    given_sizes = sizes_for(sizes or TRAINING_SIZES, data)
    matched = match(names, given_sizes, equal=equal, target=target, sequence_length=data.sequence, tolerance=tolerance)
    total, runs = len(names) * len(seeds), dict[str, list[TrainingRun]]()
    # Seeds outermost: what a machine does meanwhile then falls on all patterns alike.
    for round_number, seed in enumerate(seeds):
        for place, entry in enumerate(matched):
            name = str(entry.pattern)
            if progress is not None:
                progress(round_number * len(names) + place, total, f"{name}, seed {seed}")
            run = train(
                entry.pattern,
                data,
                replace(settings, seed=seed),
                sizes=entry.sizes,
                watchers=watchers(name, seed) if watchers else (),
            )
            runs.setdefault(name, []).append(run)
    if progress is not None:
        progress(total, total, "")
    entrants = tuple(_entrant(entry, tuple(runs[str(entry.pattern)])) for entry in matched)
    first = entrants[0].runs[0]
    return Sweep(equal, entrants, first.data, first.baselines, first.environment)


def _entrant(matched: Matched, runs: tuple[TrainingRun, ...]) -> Entrant:
    built = {run.parameters for run in runs}
    if built != {matched.parameters}:
        raise AssertionError(f"{matched.pattern}: {matched.parameters} parameters were counted and {built} were built")
    return Entrant(str(matched.pattern), matched.sizes.to_json(), matched.parameters, matched.flops_per_token, runs)
