import numpy as np
import pytest

from workbench.compare.throughput.bootstrap import median_interval, speedup
from workbench.compare.throughput.result import Interval


def coverage(draw, count: int, repetitions: int = 200) -> float:
    """How often the interval of a distribution whose median is 0 holds it."""
    random = np.random.default_rng(7)
    intervals = [median_interval(draw(random, count), seed=place, resamples=500) for place in range(repetitions)]
    return sum(found.low <= 0 <= found.high for found in intervals) / repetitions


def heavy_tails(random, count):
    return random.standard_cauchy(count)


def one_sided(random, count):
    return random.exponential(size=count) - np.log(2)


@pytest.mark.parametrize("draw", [heavy_tails, one_sided])
@pytest.mark.parametrize("count", [6, 12, 60])
def test_the_interval_holds_the_median_as_often_as_it_says(draw, count):
    assert coverage(draw, count) >= 0.93


def test_the_interval_is_not_wider_than_it_must_be():
    """Of 400 standard normal values, the median's standard error is sqrt(pi / 2 / 400)."""
    values = np.random.default_rng(1).normal(size=400)
    found = median_interval(values, seed=1)
    expected = 2 * 1.96 * np.sqrt(np.pi / 2 / 400)
    assert found.high - found.low == pytest.approx(expected, rel=0.3)


def test_load_that_comes_and_goes_widens_the_interval():
    """The same values, shuffled: alike neighbours are worth less than as many independent values."""
    random = np.random.default_rng(3)
    waves = np.repeat(random.normal(size=30), 6) + random.normal(scale=0.1, size=180)
    in_order, shuffled = (median_interval(values, seed=1) for values in (waves, random.permutation(waves)))
    assert in_order.high - in_order.low > 1.4 * (shuffled.high - shuffled.low)


def test_one_seed_gives_one_interval():
    values = np.random.default_rng(0).normal(size=50)
    assert median_interval(values, seed=5) == median_interval(values, seed=5)
    assert median_interval(values, seed=5) != median_interval(values, seed=6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0], Interval(3, 3, 3)), ([2.0, 4.0], Interval(3, 2, 4)), ([7.0] * 2000, Interval(7, 7, 7))],
)
def test_few_values_and_equal_ones(values, expected):
    assert median_interval(values, seed=1) == expected


def test_nine_values_leave_one_out_at_either_end():
    """The textbook's exact interval of nine values is from the second to the eighth: 96.1 %."""
    found = median_interval([1, 2, 3, 4, 5, 6, 7, 8, 9], seed=1)
    assert (found.low, found.median, found.high) == (2, 5, 8)


def test_speedup_is_of_pairs():
    """Both slow down tenfold in some pairs: every ratio stays what it was."""
    load = np.where(np.arange(40) % 3 == 0, 10.0, 1.0)
    assert speedup(2 * load, 3 * load, seed=1) == Interval(1.5, 1.5, 1.5)


def test_twice_as_slow_is_half_the_speed():
    assert speedup([2.0] * 6, [1.0] * 6, seed=1).outcome == "slower"
    assert speedup([1.0] * 6, [2.0] * 6, seed=1).outcome == "faster"


def test_an_interval_that_holds_one_shows_no_difference():
    random = np.random.default_rng(2)
    left, right = random.lognormal(size=(2, 60))
    assert speedup(left, right, seed=1).outcome == "no measurable difference"
    assert Interval(1.0, 1.0, 1.0).holds_one


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0]], [float("inf")]])
def test_what_has_no_median_is_refused(values):
    with pytest.raises(ValueError, match="expected a sequence of finite numbers"):
        median_interval(values, seed=1)


def test_pairs_have_two_times_above_zero():
    with pytest.raises(ValueError, match="2 of one twin, 1 of the other"):
        speedup([1.0], [1.0, 2.0], seed=1)
    with pytest.raises(ValueError, match="too coarse"):
        speedup([0.0], [1.0], seed=1)
