"""The architecture of a model that was built: what it was built from, and the weights that it really has."""

from __future__ import annotations

import pytest
import torch

from tests.contracts.architectures import plain_sizes
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion.model import build_model, model_arguments
from workbench.fusion.sizes_of import MODEL_ARGUMENTS, architecture_of
from workbench.pattern.model import Pattern

EVERY_KIND = ("MG*-E", "MG+-E", "MD-E", "M", "-", "[M-]E/*/*")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("pattern", EVERY_KIND)
def test_the_architecture_of_a_model(pattern: str, dtype: str) -> None:
    sizes = ModelSizes(rotary_base=500, position_embedding="rope" if set(pattern) & {"+", "D"} else "rope 50%")
    model = build_model(pattern, sizes, dtype=dtype, backend="local")
    found = architecture_of(model)
    assert (found.pattern, found.dtype) == (Pattern(pattern), dtype)
    assert plain_sizes(found.pattern, found.sizes) == plain_sizes(found.pattern, sizes)
    real = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if "_extra_state" not in name}
    assert {tensor.name: tensor.shape for tensor in found.built("local")} == real


def test_a_wrapped_model_and_arguments_that_decide_no_size() -> None:
    model = build_model("[*-]", ModelSizes(), backend="local", vocab_size=96, parallel_output=False)
    wrapper = torch.nn.Module()
    wrapper.module = model
    assert architecture_of(wrapper).sizes.vocab_size == 96


def test_the_arguments_are_those_of_the_model() -> None:
    assert tuple(model_arguments(Pattern("*"), ModelSizes())) == MODEL_ARGUMENTS


def test_a_model_of_somebody_else() -> None:
    with pytest.raises(WorkbenchError, match="was not built by workbench"):
        architecture_of(torch.nn.Linear(1, 1))


def test_half_precision() -> None:
    model = build_model("M", ModelSizes(), backend="local")
    model.config.params_dtype = torch.float16
    with pytest.raises(WorkbenchError, match=r"weights in fp32 or bf16, not torch\.float16"):
        architecture_of(model)
