"""Hybrid Workbench: design, review and prove hybrid Mamba / attention / MoE architectures.

`import workbench` is instant and loads neither torch nor megatron; every name below is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.pattern.checks import check
    from workbench.pattern.diagnostics import Diagnostic, PatternError
    from workbench.pattern.model import Pattern

_HOMES = {
    "Diagnostic": "workbench.pattern.diagnostics",
    "Pattern": "workbench.pattern.model",
    "PatternError": "workbench.pattern.diagnostics",
    "check": "workbench.pattern.checks",
}

__all__ = ["Diagnostic", "Pattern", "PatternError", "check"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
