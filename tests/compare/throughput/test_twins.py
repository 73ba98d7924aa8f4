import pytest

from workbench.compare.throughput.result import NotTheSame
from workbench.compare.throughput.twins import has_fused, repeated, twin_patterns
from workbench.errors import WorkbenchError


@pytest.mark.parametrize(
    ("pattern", "against", "expected"),
    [
        ("M[*-]", None, ("M[*-]", "M*-")),
        ("M*-", None, ("M[*-]", "M*-")),  # nothing is fused: fused everywhere
        ("[M-][*-]", "[M-]*-", ("[M-][*-]", "[M-]*-")),
        ("M*-", "M*-", ("M*-", "M*-")),  # asked for
        ("M/[*-]", None, ("M/[*-]", "M/*-")),
        ("M|[*-]", "M*-", ("M|[*-]", "M*-")),  # stages are no part of the function
    ],
)
def test_what_is_compared_with_what(pattern, against, expected):
    assert tuple(map(str, twin_patterns(pattern, against))) == expected


@pytest.mark.parametrize("pattern", ["MM", "-*", "M|-"])
def test_a_pattern_in_which_nothing_can_be_fused(pattern):
    with pytest.raises(WorkbenchError, match="nothing can be fused in"):
        twin_patterns(pattern)


@pytest.mark.parametrize(("pattern", "against"), [("M-", "*-"), ("M-M-", "M-"), ("M-/*-", "M-"), ("M-/M-", "M-/M-/M-")])
def test_other_functions_are_not_compared(pattern, against):
    with pytest.raises(NotTheSame, match="differ in more than brackets") as caught:
        twin_patterns(pattern, against)
    assert caught.value.to_json()["measured"]["fused_sublayers"]


@pytest.mark.parametrize(("pattern", "against"), [("", None), ("M-", "")])
def test_nothing_is_not_compared(pattern, against):
    with pytest.raises(WorkbenchError, match="an empty pattern has no layers"):
        twin_patterns(pattern, against)


def test_repeated():
    assert str(repeated("[*-]", 3)) == "[*-][*-][*-]"
    assert str(repeated("M|-/[*-]/[*-]", 2)) == "M|-M|-/[*-]/[*-]"
    with pytest.raises(WorkbenchError, match="repeat must be a whole number of at least 1, not 0"):
        repeated("M", 0)


def test_a_fused_pair_may_be_in_mtp():
    assert twin_patterns("M/[*-]")[0] is not None
    assert [has_fused(pattern) for pattern in twin_patterns("M/[*-]")] == [True, False]
