"""Making a million objects that all stay: without looking for garbage among them, again and again. Pure."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Python's collector of garbage rests inside; what was reached by one reference only is freed all the same.

    Opening 100,000 tensors takes half the time. It looks at all objects that there are each time some were made.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
