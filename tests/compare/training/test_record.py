"""Points of a run as JSON: strict JSON, the same bits back, and nothing else is taken for one."""

from __future__ import annotations

import json
import math

import pytest

from workbench.compare.training.record import Evaluation, Step, point_from_json, point_to_json
from workbench.errors import WorkbenchError

STEP = Step(1, 0.1 + 0.2, math.inf, 1e-3, 64, 0.1, None)


@pytest.mark.parametrize("point", [STEP, Evaluation(3, -math.inf, 0.5, 0.1)])
def test_a_point_comes_back(point):
    assert point_from_json(json.loads(json.dumps(point_to_json(point), allow_nan=False))) == point


def test_what_is_not_a_number_is_a_text():
    data = point_to_json(Evaluation(3, math.nan, 0.5, 0.1))
    assert data["loss"] == "nan"
    assert math.isnan(point_from_json(data).loss)


@pytest.mark.parametrize(
    "data",
    [
        1,
        None,
        [],
        {},
        {"kind": ["step"]},
        {"kind": "step"},
        point_to_json(STEP) | {"kind": "other"},
        point_to_json(STEP) | {"step": 1.0},
        point_to_json(STEP) | {"loss": None},
        point_to_json(STEP) | {"loss": "low"},
        point_to_json(STEP) | {"seconds": True},
        point_to_json(STEP) | {"more": 1},
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(WorkbenchError, match="not a point of a run"):
        point_from_json(data)
