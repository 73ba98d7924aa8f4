"""Undo: what a text and its sizes were before each change. Writing without a pause is one change. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.arch.sizes import ModelSizes

MOST = 500  # steps back
PAUSE = 0.8  # seconds without a keystroke that end a change


@dataclass(frozen=True)
class Step:
    """What can be gone back to."""

    text: str
    sizes: ModelSizes


@dataclass
class History:
    """The present step, those before it and those undone."""

    present: Step
    past: list[Step] = field(default_factory=list)
    future: list[Step] = field(default_factory=list)
    _written_at: float = float("-inf")

    def record(self, step: Step, written_at: float | None = None) -> None:
        """A new present. `written_at` is the time in seconds when it was typed; None for a command, a change of its own."""
        if step == self.present:
            return
        if written_at is None or written_at - self._written_at > PAUSE:
            self.past = [*self.past[-MOST + 1 :], self.present]
        self._written_at = float("-inf") if written_at is None else written_at
        self.present = step
        self.future.clear()

    def undo(self) -> Step:
        """One change back; the present when there is none."""
        if self.past:
            self.future.append(self.present)
            self.present = self.past.pop()
        self._written_at = float("-inf")
        return self.present

    def redo(self) -> Step:
        """One undone change forward again; the present when there is none."""
        if self.future:
            self.past.append(self.present)
            self.present = self.future.pop()
        self._written_at = float("-inf")
        return self.present
