"""Each check that needs no training sees exactly its own thing broken in one twin, and names the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from workbench.compare.model_checks import (
    check_fused_path,
    check_gradients,
    check_initial_weights,
    check_logits,
    check_loss,
    check_sublayers,
)
from workbench.compare.session import Session
from workbench.compare.tensors import Tolerance
from workbench.fusion.state import canonical_state_dict, load_canonical_state_dict

Twins = Callable[..., Session]

# In the fused twin of M[*-]M[ME], blocks 1 and 3 are the pairs: sub-layers 1, 2 and 4, 5.
PAIR, MOE_PAIR = 1, 3


def layer(session: Session, block: int) -> Any:
    return session.left.model.decoder.layers[block]


def shuffle_norms(session: Session) -> None:
    """Norm weights start as ones, which hides a swap: give both twins the same random ones."""
    generator = torch.Generator().manual_seed(0)
    state = canonical_state_dict(session.left.model)
    norms = {
        name: torch.rand(tensor.shape, generator=generator) + 0.5 for name, tensor in state.items() if "norm" in name
    }
    for side in (session.left, session.right):
        load_canonical_state_dict(side.model, norms, strict=False)


def test_sound_twins_pass_every_check(twins: Twins) -> None:
    session = twins()
    checks = [
        check_sublayers,
        check_initial_weights,
        check_fused_path,
        check_logits,
        check_loss,
        check_gradients,
    ]
    for check in checks:
        found = check(session)
        assert found.passed is True, found
        assert found.differences == ()
        assert found.measured["differences"] == 0


def test_one_weight_off_by_one_ulp(twins: Twins) -> None:
    session = twins()
    weight = layer(session, PAIR).self_attention.linear_qkv.weight
    with torch.no_grad():
        weight[3, 5] = torch.nextafter(weight[3, 5], torch.tensor(1.0))
    found = check_initial_weights(session)
    assert found.passed is False
    (difference,) = found.differences
    assert difference.name == "decoder.layers.1.self_attention.linear_qkv.weight"
    assert difference.place == "sub-layer 1, self-attention"
    assert (difference.mismatched, difference.max_ulp, difference.first_index) == (1, 1, (3, 5))
    assert found.summary.startswith("1 difference, in sub-layer 1, self-attention: ")


def test_one_ulp_is_within_a_tolerance_that_the_user_gave(twins: Twins) -> None:
    session = twins(tolerance=Tolerance(rtol=1e-5))
    weight = layer(session, PAIR).mlp.linear_fc1.weight
    with torch.no_grad():
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(1.0))
    found = check_initial_weights(session)
    assert found.passed is True
    assert "equal within atol 0, rtol 1e-05" in found.summary


def test_swapped_norms(twins: Twins) -> None:
    session = twins()
    shuffle_norms(session)
    assert check_logits(session).passed is True
    pair = layer(session, PAIR)
    pair.input_layernorm, pair.pre_mlp_layernorm = pair.pre_mlp_layernorm, pair.input_layernorm
    found = check_logits(session)
    assert found.passed is False
    assert found.differences[0].name == "decoder.layers.1.normed"
    assert found.differences[0].place == "the norm of sub-layer 1, self-attention"
    weights = check_initial_weights(session)
    assert {entry.place for entry in weights.differences} == {"sub-layer 1, self-attention", "sub-layer 2, MLP"}


def test_a_lost_bias_dropout_add(twins: Twins) -> None:
    session = twins()

    def without_residual(training: bool, fused: bool) -> Any:
        return lambda output_with_bias, residual, probability: output_with_bias[0]

    layer(session, PAIR).self_attn_bda = without_residual
    found = check_logits(session)
    assert found.passed is False
    assert found.differences[0].place == "the residual stream that enters sub-layer 2, MLP"
    assert check_initial_weights(session).passed is True


def test_a_mixer_that_computes_something_else(twins: Twins) -> None:
    session = twins()
    layer(session, PAIR).mlp.register_forward_hook(lambda _, __, output: (output[0] * (1 + 1e-6), output[1]))
    found = check_logits(session)
    assert found.differences[0].place == "the mixer of sub-layer 2, MLP"


def test_a_wrong_layer_number(twins: Twins) -> None:
    session = twins()
    layer(session, MOE_PAIR).mlp.set_layer_number(5)
    found = check_sublayers(session)
    assert found.passed is False
    (difference,) = found.differences
    assert difference.place == "sub-layer 5, mixture of experts"
    assert difference.detail == "layer number 5 against 6"
    # What it would have done: the router's loss of one layer is logged as another's.
    loss = check_loss(session)
    assert loss.passed is False
    assert [entry.name for entry in loss.differences] == ["moe.load_balancing_loss"]


def test_a_model_that_is_not_fused_where_the_pattern_says_so(twins: Twins) -> None:
    session = twins()
    session.left.model = session.right.model
    found = check_sublayers(session)
    assert found.passed is False
    assert found.differences[0].detail == "6 modules built for 4 blocks"


def test_a_block_with_an_empty_slot(twins: Twins) -> None:
    session = twins()
    layer(session, PAIR).mlp = torch.nn.Identity()
    found = check_sublayers(session)
    assert found.passed is False
    assert found.differences[0].detail == "[*-] is one TransformerLayer that holds sub-layers (1,), not (1, 2)"


def test_other_symbols(twins: Twins) -> None:
    found = check_sublayers(twins("M[*-]", "M[*E]"))
    assert found.passed is False
    assert found.differences[0].place == "sub-layer 2"
    assert found.differences[0].detail == "MLP against mixture of experts"


def test_other_mtp_symbols_and_depths(twins: Twins) -> None:
    found = check_sublayers(twins("M[*-]/[*-]", "M[*-]/M-"))
    assert found.differences[0].place == "MTP sub-layer 0"
    found = check_sublayers(twins("M[*-]/[*-]/[*-]", "M[*-]/[*-]"))
    assert found.passed is False


def test_a_parameter_of_another_dtype(twins: Twins) -> None:
    session = twins()
    layer(session, PAIR).mlp.linear_fc1.double()
    found = check_sublayers(session)
    assert found.passed is False
    assert (found.differences[0].problem, found.differences[0].detail) == ("dtype", "float64 against float32")


def test_a_mixer_that_was_skipped(twins: Twins) -> None:
    session = twins()
    layer(session, PAIR)._forward_mlp = lambda hidden_states, *_, **__: hidden_states
    found = check_fused_path(session)
    assert found.passed is False
    assert found.differences[0].name == "decoder.layers.1"
    assert "with [(1,)]" in found.differences[0].detail


def test_mixers_that_ran_outside_of_their_block(twins: Twins) -> None:
    """The numbers are right, the path is not: `forward` is called past the block's own call, as a hand-rolled loop would."""
    session = twins()
    pair = layer(session, PAIR)
    before = layer(session, PAIR - 1)
    expected = check_logits(session).measured["digest"]
    # Whoever comes before runs the pair as well, and the pair itself then does nothing.
    before.register_forward_hook(lambda _, __, output: _halves(pair, output))
    pair.forward = lambda hidden_states, **__: (hidden_states, None)
    assert check_logits(session).measured["digest"] == expected
    found = check_fused_path(session)
    assert found.passed is False
    assert found.differences[0].name == "decoder.layers.1"


def _halves(pair: Any, hidden: torch.Tensor) -> torch.Tensor:
    """What the pair computes, from its parts; no dropout, no bias."""
    rotary = _rotary(pair, hidden)
    mixed, _ = pair.self_attention(pair.input_layernorm(hidden), attention_mask=None, rotary_pos_emb=rotary)
    hidden = hidden + mixed
    return hidden + pair.mlp(pair.pre_mlp_layernorm(hidden))[0]


def _rotary(pair: Any, hidden: torch.Tensor) -> torch.Tensor:
    from megatron.core.models.common.embeddings import RotaryEmbedding

    return RotaryEmbedding(kv_channels=pair.config.kv_channels, rotary_percent=1.0)(hidden.shape[0])


def test_a_loss_that_differs_with_equal_logits(twins: Twins) -> None:
    session = twins()
    original = session.left.model.compute_language_model_loss
    session.left.model.compute_language_model_loss = lambda labels, logits: original(labels, logits) * (1 + 1e-6)
    assert check_logits(session).passed is True
    found = check_loss(session)
    assert found.passed is False
    assert {entry.name for entry in found.differences} == {"loss a token", "loss"}


def test_one_gradient_that_differs(twins: Twins) -> None:
    session = twins()
    layer(session, MOE_PAIR).self_attention.A_log.register_hook(lambda gradient: gradient * (1 + 1e-6))
    assert check_loss(session).passed is True
    found = check_gradients(session)
    assert found.passed is False
    (difference,) = found.differences
    assert difference.name == "decoder.layers.4.mixer.A_log"
    assert difference.place == "sub-layer 4, Mamba-2"


def test_one_gradient_that_is_missing(twins: Twins) -> None:
    session = twins()
    layer(session, PAIR).mlp.linear_fc2.weight.requires_grad_(False)
    found = check_gradients(session)
    (difference,) = found.differences
    assert (difference.name, difference.problem) == ("decoder.layers.2.mlp.linear_fc2.weight", "extra")


def test_not_a_number(twins: Twins) -> None:
    session = twins()
    with torch.no_grad():
        layer(session, PAIR).mlp.linear_fc1.weight[0, 0] = float("nan")
    found = check_initial_weights(session)
    assert found.differences[0].problem == "nan"
    assert check_logits(session).passed is False


def test_dropout_is_drawn_alike(twins: Twins) -> None:
    from workbench.arch.sizes import ModelSizes
    from workbench.compare.session import with_dropout

    session = twins(sizes=with_dropout(ModelSizes(), 0.2))
    assert check_logits(session).passed is True
    assert check_gradients(session).passed is True
    session.left.model.eval()
    without = check_loss(session)
    assert without.passed is False, "one twin without dropout must be seen"


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_measured_counts_are_those_of_the_model(twins: Twins, dtype: str) -> None:
    session = twins("[*-]M", dtype=dtype)
    found = check_initial_weights(session)
    parameters = sum(parameter.numel() for parameter in session.left.model.parameters())
    assert found.measured["elements"] == parameters
    assert found.measured["left_digest"] == found.measured["right_digest"]
    gradients = check_gradients(session)
    assert gradients.measured["without_gradient"] == 0
