"""A predicted checkpoint has the names, shapes and dtypes of its architecture, and says that it has no values."""

from __future__ import annotations

import pytest

from workbench.arch.architecture import Architecture, Tensor
from workbench.checkpoint.predicted import predicted
from workbench.errors import WorkbenchError


def test_names_shapes_and_dtypes_are_the_architectures():
    wanted = Architecture("M[*-]E/[*-]").canonical()
    found = predicted(wanted)
    assert [(name, found.shape(name), found.dtype(name)) for name in found.names] == [
        (entry.name, entry.shape, entry.dtype) for entry in wanted
    ]
    assert found.format == "mapping"


def test_reading_a_value_is_an_error_that_names_it():
    found = predicted([Tensor("a", (2, 3), "float32")], where="the preset")
    with pytest.raises(WorkbenchError, match="the preset was predicted from sizes: it has names and shapes, and no"):
        found["a"].bits()
    with pytest.raises(WorkbenchError, match="no values to read"):
        found.read("a", (slice(0, 1),))


def test_tensors_have_places_of_their_own():
    found = predicted([Tensor(name, (4,), "bfloat16") for name in "abc"])
    assert [found[name].pieces[0].start for name in "abc"] == [0, 8, 16]
    assert found["a"] != found["b"]
