import pytest

from workbench.compare.data import draws
from workbench.errors import WorkbenchError


def test_a_place_has_one_stream_of_its_own() -> None:
    def first(*place: int) -> tuple[int, ...]:
        return tuple(draws.generator(*place).integers(2**60, size=3))

    place = (draws.TRAIN, 5, 6, 7)
    assert first(*place) == first(*place)
    others = [(*place[:at], place[at] + 1, *place[at + 1 :]) for at in range(4)]
    assert len({first(*one) for one in (place, *others)}) == 5


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "1", None])
def test_a_seed_that_64_bits_do_not_hold_is_refused(seed: object) -> None:
    with pytest.raises(WorkbenchError, match="seed must be a whole number from 0"):
        draws.check_seed(seed)
