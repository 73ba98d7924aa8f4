"""A bar of bytes on standard error, for commands that read large files; only where a terminal shows it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
_COLUMNS = 80  # where a terminal does not say how wide it is


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
        desc=what, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr, leave=False, ncols=_columns()
    ) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def _columns() -> int | None:
    """None, so that tqdm asks; but a terminal may say that it has no columns (in containers), and tqdm would draw nothing."""
    try:
        return None if os.get_terminal_size(sys.stderr.fileno()).columns else _COLUMNS
    except OSError:
        return _COLUMNS
