"""Where the bytes of a target come from, and whether they lie there as they did, whatever boxes a tensor is said to be made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoint import stored
from tests.checkpoint.diffing import checkpoint, predicted
from workbench.checkpoint.conversion import Renamed
from workbench.checkpoint.converting.plan import make_plan, origins, same_place
from workbench.checkpoint.layouts.axis import as_axis, entries
from workbench.checkpoint.tensors import concatenated, contiguous, stacked
from workbench.errors import WorkbenchError


def test_origins_of_joined_and_divided_tensors():
    one, two = stored.in_memory((4, 6), seed=1), stored.in_memory((2, 6), seed=2)
    source = {"one": one, "two": two}
    target = {
        "as it is": one,
        "joined": concatenated([one, two]),
        "a part": one.narrow(0, 1, 2),
        "of both": concatenated([one.narrow(0, 3, 1), two]),
        "elsewhere": stored.in_memory((2,)),
    }
    assert origins(source, target) == (
        Renamed("as it is", ("one",)),
        Renamed("joined", ("one", "two")),
        Renamed("a part", ("one",)),
        Renamed("of both", ("one", "two")),
        Renamed("elsewhere", ()),
    )


def test_origins_in_one_file():
    """Tensors one behind the other in one buffer: the name is of the last that begins before."""
    data = stored.MemoryBuffer(stored.random_bytes(96))
    source = {f"t{number}": contiguous(data, 32 * number, (2, 4), "float32") for number in (2, 0, 1)}
    target = {"rows": source["t1"].narrow(0, 1, 1), "all": concatenated([source["t0"], source["t2"]])}
    assert origins(source, target) == (Renamed("rows", ("t1",)), Renamed("all", ("t0", "t2")))


@pytest.mark.parametrize(
    "name", ["float32", "bfloat16", "rows", "columns", "stacked", "grid", "transposed", "empty", "scalar"]
)
def test_the_same_place_through_other_boxes(name):
    tensor = stored.every_kind()[name]
    assert same_place(tensor, tensor)
    if tensor.shape and tensor.shape[0] > 1:
        # Taken apart row by row, and put together again: other pieces, the same bytes.
        again = concatenated([tensor.narrow(0, row, 1) for row in range(tensor.shape[0])])
        assert len(again.pieces) >= len(tensor.pieces)
        assert same_place(again, tensor)
        assert same_place(as_axis(entries(tensor)), tensor)


def test_another_place():
    data = stored.MemoryBuffer(stored.random_bytes(200))
    tensor = contiguous(data, 0, (4, 6), "float32")
    assert not same_place(contiguous(data, 4, (4, 6), "float32"), tensor)
    assert not same_place(contiguous(stored.MemoryBuffer(stored.random_bytes(200)), 0, (4, 6), "float32"), tensor)
    assert not same_place(contiguous(data, 0, (6, 4), "float32"), tensor)
    assert not same_place(contiguous(data, 0, (4, 6), "int32"), tensor)
    assert not same_place(stored.transposed(contiguous(data, 0, (6, 4), "float32")), tensor)
    swapped = concatenated([tensor.narrow(0, row, 1) for row in (1, 0, 2, 3)])
    assert not same_place(swapped, tensor)
    assert not same_place(stacked([tensor]), tensor)


@pytest.mark.parametrize(("to", "brackets"), [("fused", "[M-]"), ("grouped", "M-")])
@pytest.mark.parametrize("depths", [1, 3])
def test_a_pattern_of_other_mtp_depths_is_not_written_down(to, brackets, depths):
    """Sub-layers of MTP are built alike in every depth, so that names alone would fit."""
    source = checkpoint(predicted("M*M-/M-/M-"))
    assert make_plan(source, Path("x"), to, pattern=f"M*[M-]/{brackets}/{brackets}").pattern.count("/") == 2
    with pytest.raises(WorkbenchError, match=rf"it has {depths} MTP depth\(s\), not the 2 of M\*M-/M-/M-"):
        make_plan(source, Path("x"), to, pattern="M*[M-]" + f"/{brackets}" * depths)
