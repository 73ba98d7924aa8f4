"""Our stack with nothing fused is upstream's stack: the same layers and logits, for every symbol, and it can differ."""

import pytest
import torch
from megatron.core.models.hybrid.hybrid_block import HybridStack

from workbench.errors import WorkbenchError
from workbench.fusion.model import build_model, forward_logits
from workbench.fusion.stack import FusedHybridStack
from workbench.fusion.upstream_stack import upstream_stack

TOKENS = torch.arange(32).reshape(2, 16)


@pytest.mark.parametrize("pattern", ["M*-MME", "GE*-", "+-DE", "-E", "M*|ME"])
def test_unfused_model_is_what_upstream_builds(pattern):
    model = build_model(pattern, seed=1)
    ours, expected = model.decoder, forward_logits(model, TOKENS)
    with upstream_stack(model) as stack:
        assert type(model.decoder) is HybridStack
        assert [type(layer) for layer in stack.layers] == [type(layer) for layer in ours.layers]
        assert [layer.layer_number for layer in stack.layers] == [layer.layer_number for layer in ours.layers]
        found = forward_logits(model, TOKENS)
    assert model.decoder is ours
    assert torch.equal(found.view(torch.int32), expected.view(torch.int32))


def test_other_weights_give_other_logits():
    model = build_model("M*-", seed=1)
    expected = forward_logits(model, TOKENS)
    with torch.no_grad(), upstream_stack(model) as stack:
        stack.layers[2].mlp.linear_fc2.weight.zero_()
        assert not torch.equal(forward_logits(model, TOKENS), expected)
    assert torch.equal(forward_logits(model, TOKENS), expected), "the weights inside are copies"


def test_fused_model_is_refused():
    model = build_model("M[*-]", seed=1)
    with pytest.raises(WorkbenchError, match=r"and this model has 1: \[\*-\]"), upstream_stack(model):
        pass
    assert type(model.decoder) is FusedHybridStack
