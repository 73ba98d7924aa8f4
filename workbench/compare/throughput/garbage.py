"""Python's garbage collector kept out of what is measured: it runs at moments that have nothing to do with the step."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def no_collection() -> Iterator[Callable[[], object]]:
    """Inside, garbage is collected only when the function that this gives is called.

    It looks at what came since its last call, in microseconds; all of megatron takes a tenth of a second, and is looked at
    once, before.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield partial(gc.collect, 0)
    finally:
        if enabled:
            gc.enable()
