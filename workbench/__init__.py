"""Hybrid Workbench: design, review and prove hybrid Mamba / attention / MoE architectures.

`import workbench` is instant and loads neither torch nor megatron; every name below is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.arch.architecture import Architecture
    from workbench.arch.presets import preset, presets
    from workbench.arch.sizes import ModelSizes
    from workbench.checkpoint.conversion import Converted
    from workbench.checkpoint.convert import convert
    from workbench.checkpoint.diff import diff
    from workbench.checkpoint.differences import Diff
    from workbench.checkpoint.inspect import inspect
    from workbench.checkpoint.inspection import Inspection
    from workbench.checkpoint.opening import open_checkpoint
    from workbench.compare.data.opening import open_data
    from workbench.compare.equivalence import verify
    from workbench.compare.sweep.result import Sweep
    from workbench.compare.sweep.run import sweep
    from workbench.compare.throughput.measure import throughput
    from workbench.compare.throughput.result import Throughput
    from workbench.compare.training.loop import train
    from workbench.compare.training.record import TrainingRun
    from workbench.compare.training.settings import TrainingSettings
    from workbench.compare.training.twin_runs import Twins
    from workbench.compare.training.twins import train_twins
    from workbench.compare.verdict import Verdict
    from workbench.cost.balance import Balance
    from workbench.cost.ranks import Parallel
    from workbench.cost.stages import best_stages
    from workbench.cost.summary import Cost, estimate
    from workbench.pattern.checks import check
    from workbench.pattern.diagnostics import Diagnostic, PatternError
    from workbench.pattern.model import Pattern
    from workbench.ui.diff_browser import DiffBrowser
    from workbench.ui.editor import Editor
    from workbench.ui.training_chart import TrainingChart

_HOMES = {
    "Architecture": "workbench.arch.architecture",
    "Balance": "workbench.cost.balance",
    "Converted": "workbench.checkpoint.conversion",
    "Cost": "workbench.cost.summary",
    "Diagnostic": "workbench.pattern.diagnostics",
    "Diff": "workbench.checkpoint.differences",
    "DiffBrowser": "workbench.ui.diff_browser",
    "Editor": "workbench.ui.editor",
    "Inspection": "workbench.checkpoint.inspection",
    "ModelSizes": "workbench.arch.sizes",
    "Parallel": "workbench.cost.ranks",
    "Pattern": "workbench.pattern.model",
    "PatternError": "workbench.pattern.diagnostics",
    "Sweep": "workbench.compare.sweep.result",
    "Throughput": "workbench.compare.throughput.result",
    "TrainingChart": "workbench.ui.training_chart",
    "TrainingRun": "workbench.compare.training.record",
    "TrainingSettings": "workbench.compare.training.settings",
    "Twins": "workbench.compare.training.twin_runs",
    "Verdict": "workbench.compare.verdict",
    "best_stages": "workbench.cost.stages",
    "check": "workbench.pattern.checks",
    "convert": "workbench.checkpoint.convert",
    "diff": "workbench.checkpoint.diff",
    "estimate": "workbench.cost.summary",
    "inspect": "workbench.checkpoint.inspect",
    "open_checkpoint": "workbench.checkpoint.opening",
    "open_data": "workbench.compare.data.opening",
    "preset": "workbench.arch.presets",
    "presets": "workbench.arch.presets",
    "sweep": "workbench.compare.sweep.run",
    "throughput": "workbench.compare.throughput.measure",
    "train": "workbench.compare.training.loop",
    "train_twins": "workbench.compare.training.twins",
    "verify": "workbench.compare.equivalence",
}

# Which module shows what in a notebook. The class holds a hook, and this package, which stands above all layers, hangs
# a function into it that imports the view when something is shown.
_VIEWS = {
    "Architecture": "workbench.views.architecture",
    "Balance": "workbench.views.balance",
    "Converted": "workbench.views.conversion",
    "Cost": "workbench.views.cost",
    "Diff": "workbench.views.diff",
    "Inspection": "workbench.views.inspection",
    "Pattern": "workbench.views.pattern",
    "Sweep": "workbench.views.sweep",
    "Throughput": "workbench.views.throughput",
    "TrainingRun": "workbench.views.training",
    "Twins": "workbench.views.twins",
    "Verdict": "workbench.views.verdict",
}

# What a function hands out shows itself too, without its class having been asked for.
_SHOWN_BY = {
    "Editor": ("Architecture", "Cost", "Pattern"),
    "best_stages": ("Balance",),
    "convert": ("Converted",),
    "diff": ("Diff",),
    "estimate": ("Cost", "Architecture"),
    "inspect": ("Inspection",),
    "preset": ("Architecture",),
    "presets": ("Architecture",),
    "sweep": ("Sweep", "TrainingRun"),
    "throughput": ("Throughput",),
    "train": ("TrainingRun",),
    "train_twins": ("Twins", "TrainingRun"),
    "verify": ("Verdict",),
}

__all__ = [
    "Architecture",
    "Balance",
    "Converted",
    "Cost",
    "Diagnostic",
    "Diff",
    "DiffBrowser",
    "Editor",
    "Inspection",
    "ModelSizes",
    "Parallel",
    "Pattern",
    "PatternError",
    "Sweep",
    "Throughput",
    "TrainingChart",
    "TrainingRun",
    "TrainingSettings",
    "Twins",
    "Verdict",
    "best_stages",
    "check",
    "convert",
    "diff",
    "estimate",
    "inspect",
    "open_checkpoint",
    "open_data",
    "preset",
    "presets",
    "sweep",
    "throughput",
    "train",
    "train_twins",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    found = getattr(import_module(_HOMES[name]), name)
    for shown in _SHOWN_BY.get(name, (name,) if name in _VIEWS else ()):
        _hang_view(shown)
    globals()[name] = found
    return found


def _hang_view(name: str) -> None:
    shown = getattr(import_module(_HOMES[name]), name)
    if shown.view is None:
        shown.view = lambda value: import_module(_VIEWS[name]).mimebundle(value)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext workbench` calls: the cell magic `%%pattern`."""
    _hang_view("Pattern")
    import_module("workbench.ui.magic").register(shell)
