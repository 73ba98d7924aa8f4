"""What a text says as far as it can be understood."""

import pytest

from workbench import Pattern, PatternError, check
from workbench.pattern.sketch import Sketch


def written(sketch):
    return [[str(block) for block in stage] for stage in sketch.stages]


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("", [[]]),
        ("M[*-]|-", [["M", "[*-]"], ["-"]]),
        ("M?[*-", [["M", "*", "-"]]),
        ("[-E]M", [["-", "E", "M"]]),
        ("[M[*-]]", [["M", "*", "-"]]),
        ("*+", [["*", "+"]]),
        ("]|[|/", [[], [], []]),
    ],
)
def test_what_still_parses_is_there(text, stages):
    assert written(Sketch(text)) == stages


def test_a_group_that_cannot_be_one_is_taken_apart_in_place():
    sketch = Sketch("M[-E]*")
    assert [(layer.symbol, layer.index, layer.start) for layer in sketch.sublayers] == [
        ("M", 0, 0), ("-", 1, 2), ("E", 2, 3), ("*", 3, 5),
    ]  # fmt: skip
    assert [(block.index, block.start, block.end) for block in sketch.blocks] == [
        (0, 0, 1),
        (1, 2, 3),
        (2, 3, 4),
        (3, 5, 6),
    ]
    assert [block.symbols for block in Sketch("M/[-*]").mtp.blocks] == ["-", "*"]


def test_it_says_what_is_wrong():
    assert Sketch("M[").diagnostics == check("M[")
    assert (Sketch("M[").sound, Sketch("M-").sound) == (False, True)


def test_a_pattern_is_a_sketch_without_errors():
    sketch = Sketch("M[*-]/*-")
    pattern = Pattern(sketch)
    assert (pattern, pattern.blocks, pattern.mtp) == (Pattern("M[*-]/*-"), sketch.blocks, sketch.mtp)
    with pytest.raises(PatternError):
        Pattern(Sketch("M["))
