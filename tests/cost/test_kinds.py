from dataclasses import dataclass

from workbench.cost.kinds import sums_by_kind


@dataclass(frozen=True)
class Part:
    kind: str
    depth: int | None
    value: float


def test_kinds_in_order_of_appearance_and_all_of_mtp_in_one():
    parts = [Part("mlp", None, 1), Part("mamba", None, 2), Part("mlp", None, 3), Part("mlp", 0, 4), Part("mamba", 1, 5)]
    assert list(sums_by_kind(parts, lambda part: part.value).items()) == [("mlp", 4), ("mamba", 2), ("mtp", 9)]


def test_nothing_sums_to_nothing():
    assert sums_by_kind([], lambda part: part.value) == {}
