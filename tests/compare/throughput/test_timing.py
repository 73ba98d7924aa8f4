import gc

import pytest

from workbench.compare.throughput.timing import FEWEST, WARM_UP, HostClock, alternate, once


class FakeTime:
    """A clock that only moves when somebody works."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def mark(self):
        return self.now

    def seconds(self, marks):
        return HostClock().seconds(marks)

    def worker(self, name, *spans, marks=True):
        def run(mark):
            self.log.append(name)
            for place, span in enumerate(spans):
                if place and marks:
                    mark()
                self.now += span

        return run

    def alternate(self, left, right, **options):
        return alternate(left, right, clock=self, now=self.mark, **options)


def test_strictly_in_turn_and_each_first_in_every_other_pair():
    fake = FakeTime()
    fake.alternate(fake.worker("a", 1), fake.worker("b", 1), trials=3, warm_up=2)
    assert "".join(fake.log) == "abbaabbaab"


def test_times_are_the_workers_own():
    fake = FakeTime()
    pairs = fake.alternate(fake.worker("a", 2), fake.worker("b", 3), trials=2)
    assert (pairs.left, pairs.right, pairs.count) == ({"step": (2, 2)}, {"step": (3, 3)}, 2)


def test_phases_and_their_sum():
    fake = FakeTime()
    left, right = fake.worker("a", 1, 2, 4), fake.worker("b", 8, 16, 32)
    pairs = fake.alternate(left, right, phases=("forward", "backward", "optimizer"), trials=1)
    assert pairs.left == {"forward": (1,), "backward": (2,), "optimizer": (4,), "step": (7,)}
    assert pairs.right == {"forward": (8,), "backward": (16,), "optimizer": (32,), "step": (56,)}


def test_what_comes_before_a_trial_is_not_timed():
    fake, prepared = FakeTime(), []

    def before(side):
        prepared.append(side)
        fake.now += 100

    pairs = fake.alternate(fake.worker("a", 1), fake.worker("b", 1), trials=2, warm_up=0, before=before)
    assert prepared == [0, 1, 1, 0]
    assert pairs.left == {"step": (1, 1)}


def test_warm_up_is_run_and_not_kept():
    fake = FakeTime()
    pairs = fake.alternate(fake.worker("a", 1), fake.worker("b", 1), trials=6)
    assert (pairs.count, len(fake.log)) == (6, 2 * (6 + WARM_UP))


def test_seconds_end_it_and_warm_up_is_not_in_them():
    fake = FakeTime()
    pairs = fake.alternate(fake.worker("a", 1), fake.worker("b", 1), seconds=100, warm_up=10)
    assert pairs.count == 50


def test_a_slow_step_is_still_repeated():
    fake = FakeTime()
    assert fake.alternate(fake.worker("a", 50), fake.worker("b", 50), seconds=1).count == FEWEST


def test_the_clock_may_be_another():
    times = iter([5.0, 7.0, 10.0, 11.0])
    pairs = alternate(once(lambda: None), once(lambda: None), trials=1, warm_up=0, clock=HostClock(lambda: next(times)))
    assert (pairs.left, pairs.right) == ({"step": (2.0,)}, {"step": (1.0,)})


def test_whichever_limit_comes_first():
    fake = FakeTime()
    assert fake.alternate(fake.worker("a", 1), fake.worker("b", 1), trials=50, seconds=20).count == 10
    assert fake.alternate(fake.worker("a", 1), fake.worker("b", 1), trials=5, seconds=20).count == 5


def test_progress_ends_at_one():
    fake, shares = FakeTime(), []
    fake.alternate(fake.worker("a", 1), fake.worker("b", 1), trials=4, warm_up=1, progress=shares.append)
    assert shares == [0, 0.25, 0.5, 0.75, 1]


def test_no_collection_inside_a_trial_and_the_collector_is_given_back():
    enabled = []
    alternate(once(lambda: enabled.append(gc.isenabled())), once(lambda: None), trials=2)
    assert not any(enabled)
    assert gc.isenabled()
    gc.disable()
    try:
        alternate(once(lambda: None), once(lambda: None), trials=1)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_is_given_back_when_a_trial_fails():
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        alternate(once(fail), once(fail), trials=1)
    assert gc.isenabled()


def test_a_wrong_number_of_phases_is_an_error():
    fake = FakeTime()
    with pytest.raises(ValueError, match=r"2 phase\(s\) marked the end of 1"):
        fake.alternate(fake.worker("a", 1), fake.worker("b", 1), phases=("one", "two"), trials=1)


def test_a_limit_is_needed():
    with pytest.raises(ValueError, match="without trials or seconds"):
        alternate(once(gc.isenabled), once(gc.isenabled))
    with pytest.raises(ValueError, match="at least 1"):
        alternate(once(gc.isenabled), once(gc.isenabled), trials=0)
