from dataclasses import replace

import pytest
import torch

from workbench.compare.throughput import memory
from workbench.compare.throughput.memory import peak_bytes
from workbench.compare.throughput.profiling import profiled

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's allocator rounds up to its blocks")


def test_what_is_alive_at_once_is_added():
    def step():
        kept = torch.zeros(1000)  # 4,000 bytes
        also = torch.zeros(1000)  # 8,000
        del kept  # 4,000
        third = torch.zeros(500)  # 6,000
        return also, third

    assert peak_bytes(step) == 8_000


def test_one_after_the_other_is_not():
    def step():
        for _ in range(5):
            torch.zeros(1000)

    assert peak_bytes(step) == 4_000


def test_what_was_there_before_is_not_in_it():
    weights = torch.zeros(100_000)
    assert peak_bytes(lambda: weights[:250].exp()) == 1_000


def test_what_a_step_replaces_goes_down_too():
    """Each step makes its new state before it drops the old one: two at once, of which one was there at the start."""
    held = [torch.zeros(1000)]

    def step():
        new = torch.zeros(1000)
        held[0] = new
        torch.zeros(1000)

    assert peak_bytes(step) == 4_000


def test_what_autograd_keeps_for_the_backward():
    """exp keeps its result for the backward. Only with autograd are both results of a chain alive at once, twice over."""
    weight = torch.zeros(1000, requires_grad=True)

    def forward():
        return weight.exp().exp().exp()

    with torch.no_grad():
        assert peak_bytes(forward) == 8_000  # an input and its result
    assert peak_bytes(forward) == 12_000


def test_garbage_in_a_cycle_counts_until_it_is_collected_and_not_before_the_step():
    """Each run leaves 4,000 bytes that only a collection releases: live in this step, gone before the next."""

    def step():
        cycle = [torch.zeros(1000)]
        cycle.append(cycle)
        del cycle
        torch.zeros(500)

    assert peak_bytes(step) == peak_bytes(step) == 6_000


def test_a_lost_event_does_not_move_the_peak(monkeypatch):
    """Two of the three profiles lack a release: their own peaks are higher by that."""
    profiles = []

    def losing(step, *, memory):
        found = profiled(step, memory=memory)
        profiles.append(found)
        first = next(event for event in found.events if event.moved_bytes < 0)
        kept = tuple(event for event in found.events if event is not first)
        return replace(found, events=kept) if len(profiles) != 2 else found

    def step():
        for _ in range(3):
            torch.zeros(1000)

    monkeypatch.setattr(memory, "profiled", losing)
    assert (peak_bytes(step), len(profiles)) == (4_000, 3)


def test_temporaries_inside_of_an_operator():
    """Sorting makes values and indices, whatever of them is returned; more is its own."""
    values = torch.arange(1000.0)
    assert peak_bytes(lambda: values.sort().values) >= 4_000 + 8_000
