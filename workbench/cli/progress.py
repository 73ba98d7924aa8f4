"""A bar of bytes on standard error, for commands that read large files; only where a terminal shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
# One bar needs one line. Without this, tqdm asks the terminal, and draws nothing where it says 0 (as in some containers).
LINES = 24


@contextmanager
def byte_bar(wanted: bool, what: str) -> Iterator[Progress | None]:
    """A function to call with the bytes done and those in all, and None where nobody would see the bar.

    It is called often and by any thread that works; it draws ten times a second at most.
    """
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    from tqdm import tqdm

    with tqdm(
        desc=what, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr, leave=False, nrows=LINES
    ) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
