"""`explain`: the JSON data that scripts read, whole and stable."""

import json

import pytest

from workbench.pattern.checks import check
from workbench.pattern.diagnostics import PatternError
from workbench.pattern.explain import explain
from workbench.pattern.model import Pattern

# fmt: off
WHOLE = {
    "schema": "workbench.explain/1",
    "pattern": "M[*-]|E/[*-]/[*-]",
    "unfused": "M*-|E/*-/*-",
    "fused": "M[*-]|E/[*-]/[*-]",
    "stages": [
        {"index": 0, "blocks": [0, 1], "sublayers": [0, 1, 2]},
        {"index": 1, "blocks": [2], "sublayers": [3]},
    ],
    "blocks": [
        {"index": 0, "symbols": "M", "fused": False, "sublayers": [0], "stage": 0, "layer_number": 1, "start": 0, "end": 1},
        {"index": 1, "symbols": "*-", "fused": True, "sublayers": [1, 2], "stage": 0, "layer_number": 2, "start": 1, "end": 5},
        {"index": 2, "symbols": "E", "fused": False, "sublayers": [3], "stage": 1, "layer_number": 4, "start": 6, "end": 7},
    ],
    "sublayers": [
        {"index": 0, "symbol": "M", "kind": "mamba", "name": "Mamba-2", "role": "sequence mixer", "block": 0},
        {"index": 1, "symbol": "*", "kind": "attention", "name": "self-attention", "role": "sequence mixer", "block": 1},
        {"index": 2, "symbol": "-", "kind": "mlp", "name": "MLP", "role": "channel mixer", "block": 1},
        {"index": 3, "symbol": "E", "kind": "moe", "name": "mixture of experts", "role": "channel mixer", "block": 2},
    ],
    "counts": {
        "blocks": 3, "sublayers": 4, "fused": 1, "stages": 2,
        "by_kind": {"mamba": 1, "attention": 1, "mlp": 1, "moe": 1},
    },
    "mtp": {
        "depths": 2,
        "pattern": "[*-]",
        "blocks": [
            {"index": 0, "symbols": "*-", "fused": True, "sublayers": [0, 1], "stage": None, "layer_number": 1, "start": 8, "end": 12},
        ],
        "sublayers": [
            {"index": 0, "symbol": "*", "kind": "attention", "name": "self-attention", "role": "sequence mixer", "block": 0},
            {"index": 1, "symbol": "-", "kind": "mlp", "name": "MLP", "role": "channel mixer", "block": 0},
        ],
        "counts": {"blocks": 1, "sublayers": 2, "fused": 1, "by_kind": {"attention": 1, "mlp": 1}},
    },
    "diagnostics": [],
}
# fmt: on


def test_the_whole_of_an_explanation():
    assert explain("M[*-]|E/[*-]/[*-]") == WHOLE


def test_an_explanation_is_json_and_a_pattern_gives_the_same_as_its_text():
    assert json.loads(json.dumps(explain(Pattern(WHOLE["pattern"])))) == WHOLE


def test_without_mtp_it_is_null():
    assert explain("M")["mtp"] is None


def test_the_diagnostics_are_those_of_check_for_that_many_ranks():
    assert explain("M-", 2)["diagnostics"] == [entry.to_json() for entry in check("M-", 2)]
    assert {entry["code"] for entry in explain("M-", 2)["diagnostics"]} == {"auto-split", "unfused-pair"}


def test_what_is_no_pattern_is_not_explained():
    with pytest.raises(PatternError):
        explain("[M")
