"""Router and MTP statistics land where the unfused twin's do."""

from __future__ import annotations

import pytest

from tests.fusion.building import assert_same, build, run, twins
from workbench.fusion import runtime
from workbench.fusion.statistics import statistics


def test_without_a_forward_there_are_none() -> None:
    runtime.forget_models()
    assert statistics() == {}


@pytest.mark.parametrize("pattern", ["[ME]", "M[*E]-[GE]", "[*E]E/[*E]/[*E]", "[M-]/[*E]"])
def test_they_are_the_twins(pattern: str) -> None:
    found = []
    for model in twins(pattern):
        run(model)
        found.append(statistics())
    assert_same(*found)
    assert any(name.startswith("moe.") for name in found[0])


def test_router_losses_stand_at_the_sub_layers_of_the_experts() -> None:
    run(build("M[*E]-[GE]"))
    (values,) = (value for name, value in statistics().items() if name.startswith("moe."))
    assert values.nonzero().flatten().tolist() == [2, 5]


def test_indexer_losses_stand_at_the_sub_layers_of_sparse_attention() -> None:
    for pattern in ("M[D-][+-]D", "M[D-]+-[DE]"):
        run(build(pattern))
        values = statistics()["dsa.indexer_loss"]
        expected = [index for index, symbol in enumerate(pattern.replace("[", "").replace("]", "")) if symbol == "D"]
        assert values.nonzero().flatten().tolist() == expected


def test_mtp_losses_stand_at_their_depths() -> None:
    run(build("[M-]/[*-]/[*-]"))
    found = {name: value for name, value in statistics().items() if name.startswith("mtp.")}
    assert found
    assert all(value.shape == (2,) for value in found.values())


def test_they_are_gone_once_the_models_are_forgotten() -> None:
    run(build("[ME]"))
    assert statistics()
    runtime.forget_models()
    assert statistics() == {}
