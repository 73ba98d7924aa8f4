"""Published models are built from megatron's own modules at their real size, weightless, and are what was predicted."""

import pytest
import torch

from workbench import Architecture, preset
from workbench.cost.flops import flops
from workbench.fusion.flop_counting import flop_counter, unseen
from workbench.fusion.model import build_model, forward_logits
from workbench.fusion.weightless import built_tensors, weightless

# Every preset that the local modules build whole, but for the largest of a sort.
PUBLISHED = [
    "Nemotron-H-8B",
    "Nemotron-H-56B",
    "Nemotron-Nano-12B-v2",
    "Nemotron-3-Nano-30B-A3B",
    "Nemotron-3.5-Lightning",
    "Granite-4.0-H-Small",
    "Granite-4.0-H-Micro",
    "Llama-3 8B",
    "Mixtral-8x7B",
]


def build(architecture):
    return build_model(architecture.pattern, architecture.sizes, dtype=architecture.dtype, backend="local")


@pytest.mark.parametrize("fused", [False, True], ids=["unfused", "fused"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_has_the_predicted_tensors(name, fused):
    found = preset(name).architecture()
    found = Architecture(found.pattern.fused(), found.sizes) if fused else found
    with weightless():
        built = built_tensors(build(found))
    predicted = found.built("local")
    assert len(built) == len(predicted)
    assert set(built) == set(predicted)


@pytest.mark.parametrize("name", ["Nemotron-H-8B", "Llama-3 8B"])
def test_torch_counts_the_predicted_flops_of_a_whole_published_model(name):
    found = preset(name).architecture()
    with weightless(), torch.no_grad(), flop_counter() as counting:
        logits = forward_logits(build(found), torch.zeros(1, 1024, dtype=torch.long))
        assert tuple(logits.shape) == (1, 1024, found.sizes.padded_vocabulary)
    predicted = flops(found, sequence_length=1024, executed="local")
    assert counting.get_total_flops() == 1024 * (predicted.forward_per_token - unseen(predicted))


def test_nothing_of_it_stays_behind():
    """Masks, buffers and scales that megatron keeps are those of real models again, before and after."""
    found, tokens = Architecture("M[*-]/[*-]", dtype="fp32"), torch.arange(32)[None]
    with torch.no_grad():
        before = forward_logits(build_model(found.pattern, seed=1, backend="local"), tokens)
        for _ in range(2):
            with weightless():
                forward_logits(build(found), torch.zeros(1, 32, dtype=torch.long))
        after = forward_logits(build_model(found.pattern, seed=1, backend="local"), tokens)
    assert type(after) is torch.Tensor
    assert torch.equal(before, after)


def test_an_error_inside_leaves_the_real_world_as_well():
    with pytest.raises(RuntimeError, match="inside"), weightless():
        raise RuntimeError("inside")
    assert type(torch.empty(1)) is torch.Tensor


def test_a_buffer_is_not_trained():
    found = Architecture("E", preset("Nemotron-3-Nano-30B-A3B").sizes)
    with weightless():
        built = {tensor.name: tensor.trained for tensor in built_tensors(build(found))}
    assert [name for name, trained in built.items() if not trained] == ["decoder.layers.0.mlp.router.expert_bias"]
