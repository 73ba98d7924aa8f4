"""What a diff must never answer: "identical" where nothing was compared, "furthest apart" without the one that is."""

from __future__ import annotations

import numpy as np
import pytest

from tests.checkpoint.diffing import checkpoint
from tests.checkpoint.test_diff import weights
from workbench.checkpoint.diff import diff
from workbench.errors import WorkbenchError


@pytest.mark.parametrize(
    ("sides", "options", "said"),
    [
        ((weights(), weights()), {"ignore": ["*"]}, r"every tensor is ignored \(model.layers.0.q_proj.weight, "),
        ((weights(), weights()), {"ignore": ["*"], "values": False}, "nothing is left to compare"),
        ((weights(), weights()), {"only": ["norm.*"], "ignore": ["*.weight"]}, r"ignored \(norm.weight\)"),
        (({}, {}), {}, "nothing is there to compare: neither here nor here holds a tensor"),
    ],
)
def test_nothing_compared_is_not_identical(sides, options, said):
    with pytest.raises(WorkbenchError, match=said):
        diff(*map(checkpoint, sides), **options)


@pytest.mark.parametrize("options", [{"atol": -1e-3}, {"rtol": float("nan")}, {"ulp": -1}])
def test_a_tolerance_is_no_negative_number(options):
    (name, value), *_ = options.items()
    with pytest.raises(WorkbenchError, match=f"{name} is {value!r}: a tolerance is a number from 0 on"):
        diff(checkpoint(weights()), checkpoint(weights()), **options)


@pytest.mark.parametrize(
    ("special", "end"),
    [
        (np.nan, "2 of 16 elements, by up to 0.5, relative 0.333, 4,194,304 ULP"),
        (np.inf, "2 of 16 elements, by up to 0.5, relative 0.333, 4,194,304 ULP, infinite on one side only"),
    ],
)
def test_a_tensor_with_a_special_number_is_among_those_that_are_apart(special, end):
    left, right = weights(), weights()
    left["model.layers.0.q_proj.weight"] = np.nextafter(left["model.layers.0.q_proj.weight"], np.float32(9))
    right["norm.weight"][3:5] = 1.5, special
    (*_, sentence) = diff(checkpoint(left), checkpoint(right)).sentences
    assert sentence == f"2 of 13 tensors differ in values; the furthest apart is norm.weight: {end}"


@pytest.mark.parametrize(("part", "told"), [("experts", True), ("layers", False)])
def test_only_experts_are_called_experts(part, told):
    """The second number of a name may be a layer within a layer."""
    generator = np.random.default_rng(5)
    left = {f"a.0.{part}.{number}.w": generator.standard_normal(8).astype(np.float32) for number in range(3)}
    right = {f"a.0.{part}.{number}.w": left[f"a.0.{part}.{(number + 1) % 3}.w"] for number in range(3)}
    (sentence, *_) = diff(checkpoint(left), checkpoint(right)).sentences
    assert sentence.startswith("the experts of a 0 are in another order") == told
    assert ("expert" in sentence) == told
