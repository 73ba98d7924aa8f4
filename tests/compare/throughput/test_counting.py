import sys
import threading
import time

import pytest
import torch
from torch import nn

from workbench.compare.throughput.counting import ARITHMETIC, arithmetic, count_calls, count_operators
from workbench.errors import WorkbenchError


class Twice(nn.Module):
    """Calls its linear twice."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(self.linear(x))


def test_calls_of_python_functions_are_counted():
    def leaf():
        return None

    def step():
        leaf()
        len([])  # C: not counted
        leaf()

    assert count_calls(step).python == 3  # step itself and two leaves


def test_module_calls_are_counted():
    model, x = Twice(), torch.ones(2, 4)
    assert count_calls(lambda: model(x)).modules == 3
    assert count_calls(lambda: model.forward(x)).modules == 2


def test_calls_of_other_threads_are_counted():
    def leaf():
        return None

    def step():
        thread = threading.Thread(target=leaf)
        thread.start()
        thread.join()

    alone = count_calls(leaf).python
    assert count_calls(step).python > alone + 1


def test_a_thread_that_ran_before_is_not_counted():
    """In a notebook, a server or a test run there are some, and they run whenever they like."""
    stop, turns = threading.Event(), []

    def busy():
        while not stop.is_set():
            turns.append(len(turns))
            stop.wait(0.0001)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        model, x = Twice(), torch.ones(2, 4)
        model(x)

        def step():
            before = len(turns)
            while len(turns) < before + 5:
                model(x)
                time.sleep(0.001)

        calls = count_calls(step)
    finally:
        stop.set()
        thread.join()
    alone = count_calls(lambda: model(x))
    rounds = calls.modules // alone.modules
    assert calls.python == 1 + rounds * (alone.python - 1)


def test_a_custom_backward_is_counted():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            backwards.append(1)
            return gradient * 2

    backwards = []
    x = torch.ones(2, requires_grad=True)
    forward = count_calls(lambda: Double.apply(x)).python
    both = count_calls(lambda: Double.apply(x).sum().backward()).python
    assert backwards
    assert both > forward


def test_the_same_step_counts_the_same_again():
    model, x = Twice(), torch.ones(2, 4)
    model(x)
    assert count_calls(lambda: model(x)) == count_calls(lambda: model(x))


def test_another_profiler_is_said_and_its_place_is_given_back():
    monitoring = sys.monitoring
    monitoring.use_tool_id(monitoring.PROFILER_ID, "somebody")
    try:
        with pytest.raises(WorkbenchError, match="another profiler"):
            count_calls(lambda: None)
    finally:
        monitoring.free_tool_id(monitoring.PROFILER_ID)
    count_calls(lambda: None)
    assert monitoring.get_tool(monitoring.PROFILER_ID) is None


def test_operators_are_counted_forward_and_backward():
    x = torch.ones(3, requires_grad=True)
    assert count_operators(lambda: (x * 2).sum()) == 2
    with_backward = count_operators(lambda: (x * 2).sum().backward())
    # The gradient of 1, its expansion over the sum, its product by two; and what keeps it.
    assert with_backward >= 5


def test_arithmetic_is_what_torch_counts_the_operations_of():
    assert {"aten::mm", "aten::addmm", "aten::bmm", "aten::convolution"} <= ARITHMETIC
    assert not {"aten::add", "aten::linear", "aten::matmul"} & ARITHMETIC


def test_the_share_of_arithmetic_tells_products_from_the_rest():
    x = torch.ones(300, 300)
    products = arithmetic(lambda: [x @ x for _ in range(10)])
    additions = arithmetic(lambda: [x + x for _ in range(10)])
    assert 0 < products.share <= 1
    assert additions.share == 0
    if not torch.cuda.is_available():
        assert products.kernels is None


def test_an_operator_inside_of_another_is_counted_once():
    x, kernel = torch.ones(1, 3, 20, 20), torch.ones(5, 3, 3, 3)
    assert arithmetic(lambda: torch.conv2d(x, kernel)).share <= 1
