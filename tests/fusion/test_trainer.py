"""One training step is megatron's own, micro-batches and clipping included, and the same for twins to the bit."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from tests.fusion.checkpoints import batch, differing
from workbench.errors import WorkbenchError
from workbench.fusion.model import build_model, forward_tokens
from workbench.fusion.names import canonical_parameters
from workbench.fusion.state import canonical_state_dict
from workbench.fusion.trainer import (
    Trainer,
    accumulate_gradients,
    gradients,
    make_trainer,
    optimizer_state,
    train_step,
)

FUSED, UNFUSED = "[M-][*E]G", "M-*EG"
SETTINGS = [(dtype, distributed) for dtype in ("fp32", "bf16") for distributed in (False, True)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(pattern: str = FUSED, dtype: str = "fp32", **options) -> Trainer:
    return make_trainer(build_model(pattern, seed=1, dtype=dtype, backend="local"), **options)


def copied(tensors):
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def norm(found) -> float:
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in found.values()))


@pytest.mark.parametrize(("dtype", "distributed"), SETTINGS)
def test_twins_take_the_same_steps(dtype, distributed):
    twins = [trainer(pattern, dtype, distributed_optimizer=distributed) for pattern in (FUSED, UNFUSED)]
    for step in range(3):
        results = [train_step(twin, [batch(2 * step), batch(2 * step + 1)]) for twin in twins]
        assert results[0] == results[1]
        assert results[0].grad_norm > 0
        assert differing(*(copied(gradients(twin)) for twin in twins)) == []
    assert differing(*(canonical_state_dict(twin.model) for twin in twins)) == []
    if not distributed:
        assert differing(*(optimizer_state(twin) for twin in twins)) == []


def test_two_micro_batches_are_one_batch():
    # Without experts: their balance is counted within a micro-batch.
    whole, parts = trainer("[M-]*G"), trainer("[M-]*G")
    tokens = torch.cat([batch(0), batch(1)])
    loss = accumulate_gradients(whole, tokens)
    halves = accumulate_gradients(parts, [batch(0), batch(1)])
    assert halves == pytest.approx(loss, rel=1e-6)
    together, apart = gradients(whole), gradients(parts)
    assert together.keys() == apart.keys()
    for name, gradient in together.items():
        torch.testing.assert_close(apart[name], gradient, rtol=1e-4, atol=1e-7, msg=name)


def test_gradients_are_those_of_a_plain_backward():
    trained = trainer("[M-]*G")
    loss = accumulate_gradients(trained, batch(0))
    plain = build_model("[M-]*G", seed=1, backend="local")
    expected = forward_tokens(plain, batch(0)).float().mean()
    expected.backward()
    assert loss == float(expected)
    reference = {name: parameter.grad for name, parameter in canonical_parameters(plain).items()}
    assert differing(reference, gradients(trained)) == []


def test_gradients_do_not_pile_up_from_step_to_step():
    once, twice = trainer(), trainer()
    accumulate_gradients(once, batch(0))
    accumulate_gradients(twice, batch(5))
    accumulate_gradients(twice, batch(0))
    assert differing(copied(gradients(once)), copied(gradients(twice))) == []


def test_the_gradient_norm_is_that_before_clipping():
    trained = trainer(clip_grad=1e-3)
    accumulate_gradients(trained, batch(0))
    found = norm(gradients(trained))
    assert found > 1e-2
    assert train_step(trained, batch(0)).grad_norm == pytest.approx(found, rel=1e-5)


def test_clipping_scales_gradients_to_the_limit():
    # Adam's first step hides a scale; its first moment is a tenth of the gradient that it was given.
    free, clipped = trainer(clip_grad=1e9), trainer(clip_grad=1e-3)
    for each in (free, clipped):
        train_step(each, batch(0))
    moments = [
        {name: value for name, value in optimizer_state(each).items() if name.startswith("exp_avg.")}
        for each in (free, clipped)
    ]
    assert norm(moments[1]) == pytest.approx(1e-4, rel=1e-3)
    assert norm(moments[0]) == pytest.approx(train_step(trainer(), batch(0)).grad_norm / 10, rel=1e-4)


@pytest.mark.parametrize(("dtype", "distributed"), SETTINGS)
def test_the_loss_falls_on_a_fixed_batch(dtype, distributed):
    trained = trainer(FUSED, dtype, learning_rate=3e-3, distributed_optimizer=distributed)
    losses = [train_step(trained, batch(0)).loss for _ in range(20)]
    assert losses[0] == pytest.approx(math.log(128), rel=0.05)
    assert losses[-1] < losses[0] - 1.0
    assert sum(later < earlier for earlier, later in pairwise(losses)) >= 18


def test_the_learning_rate_is_the_one_given():
    still = trainer(learning_rate=0.0)
    before = copied(canonical_state_dict(still.model))
    train_step(still, batch(0))
    assert differing(before, canonical_state_dict(still.model)) == []


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_names_of_the_optimizer_state(dtype):
    trained = trainer("[M-]", dtype)
    train_step(trained, batch(0))
    state = optimizer_state(trained)
    names = list(canonical_parameters(trained.model))
    kinds = ["exp_avg", "exp_avg_sq", "step", *(["fp32_param"] if dtype == "bf16" else [])]
    assert set(state) == {f"{kind}.{name}" for kind in kinds for name in names}
    assert list(state) == sorted(state)
    assert "exp_avg.decoder.layers.1.mlp.linear_fc1.layer_norm_weight" in state
    assert {value.dtype for value in state.values()} == {torch.float32}
    if dtype == "bf16":
        for name, parameter in canonical_parameters(trained.model).items():
            assert torch.equal(state[f"fp32_param.{name}"].bfloat16(), parameter), name


def test_bf16_gradients_are_accumulated_in_fp32():
    trained = trainer("[M-]", "bf16")
    accumulate_gradients(trained, [batch(0), batch(1)])
    assert {gradient.dtype for gradient in gradients(trained).values()} == {torch.float32}


def test_the_loss_is_the_mean_of_the_micro_batches():
    trained = trainer()
    each = [accumulate_gradients(trained, batch(number)) for number in (0, 1)]
    assert accumulate_gradients(trained, [batch(0), batch(1)]) == pytest.approx(sum(each) / 2, rel=1e-6)


def test_several_stages_have_no_single_model():
    with pytest.raises(AssertionError, match="2 virtual stages"):
        _ = Trainer([object(), object()], None).model  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- what the loss counts


def counted(number: int) -> torch.Tensor:
    """A mask for `batch(number)`; each number counts another share of the targets."""
    generator = torch.Generator().manual_seed(number)
    return torch.rand(batch(number)[:, 1:].shape, generator=generator) < (0.1, 0.7)[number]


def test_the_loss_is_the_mean_over_what_is_counted():
    trained = trainer("[M-]*G")
    loss = accumulate_gradients(trained, batch(0), counted(0))
    plain = build_model("[M-]*G", seed=1, backend="local")
    expected = forward_tokens(plain, batch(0)).float()[counted(0)].mean()
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    reference = {name: parameter.grad for name, parameter in canonical_parameters(plain).items()}
    for name, gradient in gradients(trained).items():
        torch.testing.assert_close(gradient, reference[name], rtol=1e-4, atol=1e-7, msg=name)


def test_a_step_is_one_mean_however_unequally_its_micro_batches_count():
    masks = [counted(0), counted(1)]
    assert int(masks[0].sum()) * 3 < int(masks[1].sum())
    whole, parts = trainer("[M-]*G"), trainer("[M-]*G")
    loss = accumulate_gradients(whole, torch.cat([batch(0), batch(1)]), torch.cat(masks))
    assert accumulate_gradients(parts, [batch(0), batch(1)], masks) == pytest.approx(loss, rel=1e-6)
    together, apart = gradients(whole), gradients(parts)
    for name, gradient in together.items():
        torch.testing.assert_close(apart[name], gradient, rtol=1e-4, atol=1e-7, msg=name)
    # A mean of the micro-batches' means is another number.
    means = [accumulate_gradients(parts, batch(number), masks[number]) for number in (0, 1)]
    assert abs(sum(means) / 2 - loss) > 1e-4


def test_a_mask_of_everything_changes_no_bit():
    masked, plain = trainer(), trainer()
    everything = torch.ones_like(batch(0)[:, 1:], dtype=torch.bool)
    assert accumulate_gradients(masked, [batch(0), batch(1)], [None, everything]) == accumulate_gradients(
        plain, [batch(0), batch(1)]
    )
    assert differing(copied(gradients(masked)), copied(gradients(plain))) == []


def test_targets_that_are_not_counted_have_no_gradient():
    left, right = trainer("[M-]"), trainer("[M-]")
    other = batch(0).clone()
    other[:, -1] = (other[:, -1] + 1) % 128
    mask = torch.ones_like(other[:, 1:], dtype=torch.bool)
    mask[:, -1] = False
    assert accumulate_gradients(left, batch(0), mask) == accumulate_gradients(right, other, mask)
    assert differing(copied(gradients(left)), copied(gradients(right))) == []


def test_a_mask_reaches_the_losses_of_multi_token_prediction():
    mask = torch.zeros_like(batch(0)[:, 1:], dtype=torch.bool)
    mask[:, 0] = True
    found = {}
    for name, counts in (("masked", mask), ("whole", None)):
        trained = trainer("M/M")
        accumulate_gradients(trained, batch(0), counts)
        found[name] = {key: value.clone() for key, value in gradients(trained).items() if key.startswith("mtp.")}
    assert found["masked"]
    # The only counted target is the first, and MTP predicts the one behind each: nothing is left to predict.
    assert all(not gradient.any() for gradient in found["masked"].values())
    assert any(gradient.any() for gradient in found["whole"].values())


def test_a_step_that_counts_nothing_is_refused():
    with pytest.raises(WorkbenchError, match="no target of this step is counted"):
        train_step(trainer("[M-]"), batch(0), torch.zeros_like(batch(0)[:, 1:], dtype=torch.bool))


def test_no_clipping_is_a_limit_that_is_never_reached():
    free, loose = trainer(clip_grad=0.0), trainer(clip_grad=1e9)
    assert train_step(free, batch(0)) == train_step(loose, batch(0))
    assert differing(canonical_state_dict(free.model), canonical_state_dict(loose.model)) == []
