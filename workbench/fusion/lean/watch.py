"""What a plan rests on, so that a change is noticed: hooks, replaced modules, rebound forwards, dropout.

A lean block does not call the modules in it, so whatever a user hangs on one of them would be passed over. The plan keeps a
watch on every module that it passes over; the stack looks at it before each forward, which costs about a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from torch import nn

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


class Watch:
    """A watch on modules: `state()` is equal as long as nothing has changed."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.modules = tuple(modules)
        self._hooks = tuple(getattr(module, name) for module in self.modules for name in _HOOKS)
        self._contents = tuple(module.__dict__ for module in self.modules)
        self._children = tuple(module._modules for module in self.modules if module._modules)
        self._dropouts = tuple(module for module in self.modules if isinstance(module, nn.Dropout))

    def state(self) -> tuple[Any, ...]:
        """Hooks, classes, numbers of instance attributes (a rebound `forward` adds one), submodules, dropout probabilities."""
        return (
            any(self._hooks),
            tuple(map(type, self.modules)),
            tuple(map(len, self._contents)),
            tuple(chain.from_iterable([children.values() for children in self._children])),
            [dropout.p for dropout in self._dropouts],
        )


def hook_reason(name: str, module: nn.Module) -> str | None:
    """Why a module must be called as a module, or None: it has hooks, or its `forward` was rebound on the instance."""
    if any(getattr(module, hooks) for hooks in _HOOKS):
        return f"a hook is registered on {name}"
    if "forward" in module.__dict__ or module._compiled_call_impl is not None:
        return f"the forward of {name} was replaced"
    return None
