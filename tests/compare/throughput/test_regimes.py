import pytest

from workbench.arch.sizes import ModelSizes
from workbench.compare.throughput.regimes import REGIMES, problem, problems
from workbench.errors import WorkbenchError


def test_sizes_replace_those_of_a_regime():
    sizes = ModelSizes(hidden_size=32, max_sequence_length=40)
    assert problem("compute", sizes).sequence == 40
    assert problem("host", sizes).sequence == REGIMES["host"].sequence
    assert (problem("host", sizes).sizes, problem("host", threads=3).threads) == (sizes, 3)


def test_cpu_time_is_for_one_thread():
    assert list(problems(("host",), clock="cpu")) == ["host"]
    assert list(problems(("host", "compute"), threads=1, clock="cpu")) == ["host", "compute"]
    with pytest.raises(WorkbenchError, match="the compute regime has as many as torch has: give --threads 1"):
        problems(("host", "compute"), clock="cpu")
