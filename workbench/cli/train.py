"""`workbench train`: a small real training run, or the twins in lockstep; baselines, evaluations, a table, a verdict."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.cli.output import deliver, json_text, terminal_width
from workbench.cli.patterns import only, with_layers
from workbench.cli.sizes import given_sizes
from workbench.cli.training_progress import Said
from workbench.compare.training.directory import check_place, stored_threads
from workbench.compare.training.settings import TrainingSettings
from workbench.compare.training.twin_runs import twin_patterns
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.render.files import check_target

if TYPE_CHECKING:
    from workbench.arch.sizes import ModelSizes
    from workbench.compare.data.batch import Data
    from workbench.compare.training.record import TrainingRun

FINE, DIFFERENT, INTERRUPTED = 0, 1, 130
STEPS = 500  # where neither --steps nor --minutes says
EVALUATIONS = 8  # about, of a run of a given number of steps


def run_train(args: argparse.Namespace) -> int:
    """Everything that can be refused is refused before torch is imported."""
    pattern = with_layers(only(args.patterns, "train"), "train")
    against = None if args.against is None else with_layers(args.against, "train")
    twins = args.twin or against is not None
    if twins:
        twin_patterns(pattern, against)
    sizes = _sizes(args)
    settings = _settings(args)
    _check_targets(args, twins)

    from workbench.compare.data.opening import open_data

    data = open_data(args.data, sequence=args.sequence, seed=args.seed)
    _set_threads(args, pattern, data, settings, sizes)
    return (
        _twins(args, pattern, against, data, settings, sizes) if twins else _one(args, pattern, data, settings, sizes)
    )


def _one(args: argparse.Namespace, pattern: Pattern, data: Data, settings: TrainingSettings, sizes: ModelSizes) -> int:
    from workbench.compare.training.loop import train
    from workbench.compare.training.stopping import TrainingStopped

    stream = sys.stderr if args.json else sys.stdout
    watcher = Said(stream, quiet=args.quiet)
    try:
        run = train(
            pattern,
            data,
            settings,
            sizes=sizes,
            directory=args.directory,
            resume=args.resume,
            watchers=[watcher],
            minutes=args.minutes,
        )
    except TrainingStopped as stopped:
        watcher.close()
        print(f"workbench: {stopped}", file=sys.stderr)
        if args.directory is not None:
            print(f"  {resume_command(args)}", file=sys.stderr)
        return INTERRUPTED
    finally:
        watcher.close()
    _hand_out([run], run.to_json(), args)
    if not args.json:
        deliver(_shown(run, args.quiet), None, False)
    return FINE


def _twins(
    args: argparse.Namespace,
    pattern: Pattern,
    against: Pattern | None,
    data: Data,
    settings: TrainingSettings,
    sizes: ModelSizes,
) -> int:
    from workbench.compare.training.twins import train_twins

    stream = sys.stderr if args.json else sys.stdout
    watcher = Said(stream, quiet=args.quiet)
    try:
        twins = train_twins(
            pattern, against, data=data, settings=settings, sizes=sizes, watchers=[watcher], minutes=args.minutes
        )
    finally:
        watcher.close()
    if twins.stopped_by is not None:
        print(f"workbench: stopped by {twins.stopped_by} after step {len(twins.left.steps)}", file=sys.stderr)
        return INTERRUPTED
    _hand_out([twins.left, twins.right], twins.to_json(), args)
    if not args.json:
        from workbench.views.twins import verdict

        deliver(_shown(twins.left, args.quiet) + "\n" + verdict(twins), None, False)
    return FINE if twins.identical else DIFFERENT


def resume_command(args: argparse.Namespace) -> str:
    """The command that goes on with an interrupted run: the same one, with --resume."""
    words = [word for word in args.argv if word != "--resume"]
    options = words.index("--") if "--" in words else len(words)  # after it nothing is an option
    return shlex.join(["workbench", *words[:options], "--resume", *words[options:]])


# ------------------------------------------------------------------------------------------------------


def _sizes(args: argparse.Namespace) -> ModelSizes:
    from workbench.compare.training.defaults import TRAINING_SIZES

    return given_sizes(args.sizes) or TRAINING_SIZES


def _settings(args: argparse.Namespace) -> TrainingSettings:
    given = {
        name: getattr(args, name)
        for name in ("rows", "micro_batches", "learning_rate", "warmup_steps", "clip_grad", "seed", "dtype", "backend")
        if getattr(args, name) is not None
    }
    settings = TrainingSettings(steps=args.steps or STEPS)
    if "learning_rate" in given:
        given["min_learning_rate"] = given["learning_rate"] / 10
    every = args.evaluate_every
    if every is None:
        # With --minutes the plan says when.
        every = 0 if args.minutes is not None else max(1, -(-settings.steps // EVALUATIONS))
    return replace(settings, **given, evaluate_every=every)


def _set_threads(
    args: argparse.Namespace, pattern: Pattern, data: Data, settings: TrainingSettings, sizes: ModelSizes
) -> None:
    """Torch's threads: those that were asked for, those that the run to resume began with, else as many as there are cores,
    or one, where a time budget is to be used well and one is quicker."""
    import torch

    count = args.threads
    if count is None and args.resume:
        count = stored_threads(args.directory)
    if count is None and args.minutes is not None and torch.get_num_threads() > 1 and not torch.cuda.is_available():
        from workbench.compare.training.budget import seconds_by_threads
        from workbench.compare.training.learner import sizes_for

        measured = seconds_by_threads(pattern, sizes_for(sizes, data), data, settings, (torch.get_num_threads(), 1))
        count = min(measured, key=lambda each: measured[each])
        if not args.quiet:
            said = ", ".join(f"{each}: {seconds * 1e3:.0f} ms a step" for each, seconds in measured.items())
            print(f"threads: {count} ({said})", file=sys.stderr if args.json else sys.stdout, flush=True)
    if count is not None:
        torch.set_num_threads(count)


def _check_targets(args: argparse.Namespace, twins: bool) -> None:
    for path in (args.output, args.chart):
        if path not in (None, "-"):
            check_target(path, args.force)
    if args.chart is not None and not args.chart.lower().endswith(".svg"):
        raise WorkbenchError(f"--chart writes SVG: name the file .svg, not {args.chart}")
    if twins and args.directory is not None:
        raise WorkbenchError("--twin trains in memory: it does not go with --directory")
    if args.resume and args.directory is None:
        raise WorkbenchError("--resume needs --directory DIR, which holds the run")
    if args.directory is not None:
        check_place(args.directory, args.resume)


def _hand_out(runs: list[TrainingRun], data: dict[str, Any], args: argparse.Namespace) -> None:
    if args.chart is not None:
        from workbench.views.curves import svg

        deliver(svg(runs), args.chart, args.force)
    if args.output is not None:
        deliver(json_text(data), args.output, args.force)
    if args.json:
        deliver(json_text(data), None, False)


def _shown(run: TrainingRun, quiet: bool) -> str:
    from workbench.render import text
    from workbench.render.scene import Document
    from workbench.views.training import facts, result_table, verdict

    if quiet:
        return verdict(run)
    page = Document(f"Training of {run.pattern}", (facts(run), result_table(run)))
    return f"\n{text.render(page, terminal_width())}\n{verdict(run)}"
