"""Hybrid Workbench: design, review and prove hybrid Mamba / attention / MoE architectures.

`import workbench` is instant and loads neither torch nor megatron; every name below is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.compare.equivalence import verify
    from workbench.compare.verdict import Verdict
    from workbench.pattern.checks import check
    from workbench.pattern.diagnostics import Diagnostic, PatternError
    from workbench.pattern.model import Pattern

_HOMES = {
    "Diagnostic": "workbench.pattern.diagnostics",
    "Pattern": "workbench.pattern.model",
    "PatternError": "workbench.pattern.diagnostics",
    "Verdict": "workbench.compare.verdict",
    "check": "workbench.pattern.checks",
    "verify": "workbench.compare.equivalence",
}

# Which module shows what in a notebook. The class holds a hook, and this package, which stands above all layers, hangs
# a function into it that imports the view when something is shown.
_VIEWS = {
    "Pattern": "workbench.views.pattern",
    "Verdict": "workbench.views.verdict",
}

__all__ = ["Diagnostic", "Pattern", "PatternError", "Verdict", "check", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    found = getattr(import_module(_HOMES[name]), name)
    for shown in ("Verdict",) if name == "verify" else (name,) if name in _VIEWS else ():
        _hang_view(shown)
    globals()[name] = found
    return found


def _hang_view(name: str) -> None:
    shown = getattr(import_module(_HOMES[name]), name)
    if shown.view is None:
        shown.view = lambda value: import_module(_VIEWS[name]).mimebundle(value)


def __dir__() -> list[str]:
    return sorted(__all__)
