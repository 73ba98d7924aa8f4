import pytest

from workbench.views.numbers import amount, count, counted, duration, measure, operations, percent, size


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0, "0"),
        (5e-324, "4.94e-324"),
        (1.19209e-07, "1.19e-07"),
        (1234567, "1,234,567"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (True, "yes"),
        (False, "no"),
        (None, "–"),
        ("text", "text"),
    ],
)
def test_measure(value, shown):
    assert measure(value) == shown


@pytest.mark.parametrize("value", [1e-300, 1e-9, 0.0004, 0.49])
def test_nothing_but_zero_is_shown_as_zero(value):
    assert float(measure(value)) != 0
    assert duration(value) != "0 ms"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.0004, "< 1 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (9.996, "10.0 s"),
        (59.96, "60.0 s"),
        (119.6, "2 min 0 s"),
    ],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown


def test_counts():
    assert count(1310720) == "1,310,720"
    assert counted(1, "block") == "1 block"
    assert counted(2, "fused pair") == "2 fused pairs"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (amount(0), "0"),
        (amount(999), "999"),
        (amount(999_500), "1.00M"),
        (amount(999_499), "999K"),
        (amount(9_995_000), "10.0M"),
        (amount(31_577_937_344), "31.6B"),
        (amount(5e15), "5,000T"),
        (operations(0), "0 FLOP"),
        (operations(12.34), "12.3 FLOP"),
        (operations(1e22), "10.0 ZFLOP"),
        (size(0), "0 B"),
        (size(1023), "1,023 B"),
        (size(1024), "1.00 KiB"),
        (size(79.6 * 2**30), "79.6 GiB"),
        (percent(1.0), "100.0 %"),
        (percent(0.0005), "0.1 %"),
        (percent(0.0004), "< 0.1 %"),
    ],
)
def test_amounts(shown, expected):
    assert shown == expected
