"""Random numbers that are a function of where they are used: (stream, seed, number, row), and of nothing drawn before.

A counter-based generator (Philox, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") needs no state to be
carried: its counter is the place. Two places never share a number, since each has 2^128 counters of its own.
"""

from __future__ import annotations

import numpy as np

from workbench.errors import WorkbenchError

TRAIN, TEST = 0, 1

# The test set is one for all runs: what differs between seeds is then the training, not what it is measured with.
TEST_SEED = 20240501


def generator(stream: int, seed: int, number: int, row: int) -> np.random.Generator:
    """The generator of one sequence: row `row` of batch `number` (both from 0) of a stream."""
    key = np.array([seed, stream], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, number, row], np.uint64)))


def check_seed(seed: object) -> None:
    """Raise `WorkbenchError` where a seed is no whole number that 64 bits hold."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise WorkbenchError(f"seed must be a whole number from 0 to 2^64 - 1, not {seed!r}")
