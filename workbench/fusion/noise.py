"""What megatron and torch say over and over about things that are not the user's doing; everything else they say is let through.

Imports nothing of megatron. Each entry has its reason.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# (logger, start of the message)
_LOGGED = (
    # At every save; the writer that megatron-core ships is the one meant here.
    ("megatron.core.dist_checkpointing.strategies.torch", "MCore's async save is deprecated"),
    # At every model under the distributed optimizer; DDP then computes the layout, which is what is wanted.
    ("megatron.core.distributed.distributed_data_parallel", "DistributedDataParallel: full_param_layout not provided"),
)

# Regular expressions over the start of a warning.
_WARNED = (
    # Every config with the default cuda_graph_modules, also where no CUDA graph is asked for.
    "full scope is deprecated",
    # Reading a checkpoint's tensors as plain ones, which megatron does without a process group on purpose.
    "torch.distributed is disabled, unavailable or uninitialized",
    "The argument order of load has been changed",
    "Please use DTensor instead",
    # Calls inside megatron that newer torch names otherwise.
    r"`torch.distributed.\w+` is deprecated",
    # The distributed optimizer looks at the gradients of its shards.
    "The .grad attribute of a Tensor that is not a leaf",
)


@contextmanager
def hushed() -> Iterator[None]:
    """Inside, the known warnings are not shown."""
    with warnings.catch_warnings():
        for message in _WARNED:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, nothing is said at all, by warnings or by loggers below errors: for imports and calls that are known to talk."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


class _Known(logging.Filter):
    def __init__(self, start: str) -> None:
        super().__init__()
        self.start = start

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.start)


def hush_loggers() -> None:
    """Drop the known log messages from now on."""
    for logger, start in _LOGGED:
        logging.getLogger(logger).addFilter(_Known(start))
