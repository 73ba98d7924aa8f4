"""The same weights in transformers' model and in ours are one function: logits, losses, and every gradient, fused and unfused.

Tolerances are absolute, for logits whose largest is of the order of 1; both sides are float32 and sum in orders of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.independent.models import ASSUMED, CONFIGS, copied, model, tokens
from workbench.fusion.hugging_face import FAMILIES, arranging, from_hugging_face, read_hugging_face
from workbench.fusion.model import forward_logits, forward_tokens
from workbench.fusion.names import canonical_parameters

TOLERANCE = 1e-5
# Relative to the largest of a tensor, for gradients that are sums over all tokens of terms that cancel (A_log, dt_bias).
SUMMED = 3e-5
LENGTHS = (5, 40, 150)  # tokens; a chunk of Mamba or of a gated delta net has 16 to 64


@cache
def ours(kind: str, fused: bool) -> Any:
    return from_hugging_face(model(kind), fused=fused, assume=ASSUMED[kind]).eval()


def logits(hugging_face: Any, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return hugging_face(inputs).logits


def difference(kind: str, found: Any, length: int) -> float:
    """The largest difference of logits from those of transformers."""
    expected = logits(model(kind), tokens(length))
    assert 0.3 < expected.abs().max() < 10, "logits are not of ordinary size"
    with torch.no_grad():
        return float((forward_logits(found, tokens(length)) - expected).abs().max())


def test_every_family_has_a_model() -> None:
    """Models of pictures have the language part of their family's text models."""
    assert {config.model_type for config in CONFIGS.values()} == set(FAMILIES) - {"qwen3_5", "qwen3_5_moe"}


@pytest.mark.parametrize("fused", [False, True], ids=["unfused", "fused"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_logits(kind: str, fused: bool) -> None:
    found = ours(kind, fused)
    if fused and kind != "mamba2":
        assert any(block.fused for block in found.pattern.blocks)
    for length in LENGTHS:
        assert difference(kind, found, length) <= TOLERANCE


@pytest.mark.parametrize("kind", CONFIGS)
def test_fused_and_unfused_are_the_same_bits(kind: str) -> None:
    with torch.no_grad():
        one, other = (forward_logits(ours(kind, fused), tokens(40)) for fused in (False, True))
    assert torch.equal(one, other)


@pytest.mark.parametrize("kind", CONFIGS)
def test_gradients(kind: str) -> None:
    """Every weight's gradient of the mean loss: transformers' own, put under canonical names by the same rules."""
    batch = tokens(41)
    theirs = copied(kind)
    scores = theirs(batch[:, :-1]).logits
    expected_losses = F.cross_entropy(scores.transpose(1, 2), batch[:, 1:], reduction="none")
    expected_losses.mean().backward()
    state = theirs.state_dict() | {name: weight.grad for name, weight in theirs.named_parameters()}
    head = ("lm_head.weight",) if theirs.config.tie_word_embeddings else ()
    expected = read_hugging_face(state, theirs.config, assume=ASSUMED[kind], skip=head).tensors

    found = ours(kind, True)
    losses = forward_tokens(found, batch)
    found.zero_grad()
    losses.mean().backward()
    assert (losses - expected_losses).abs().max() <= TOLERANCE
    for name, weight in canonical_parameters(found).items():
        gradient = expected[name] + 1 if name.endswith("out_norm.weight") else expected[name]  # the rule is "less one"
        scale = gradient.abs().max()
        assert scale > 0 or ".experts." in name, name  # an expert may have been chosen by no token
        limit = TOLERANCE if name == "embedding.word_embeddings.weight" else SUMMED
        assert (weight.grad - gradient).abs().max() <= limit * scale, name


# --------------------------------------------------------------------------- the comparison can fail

Arrangement = Callable[..., Tensor]


def _gate_last(tensors: Any, sizes: Any) -> Tensor:
    return torch.cat(tuple(reversed(tensors)))


def _one_after_the_other(tensors: Any, sizes: Any) -> Tensor:
    return torch.cat(tuple(tensors))


def _as_it_is(tensors: Any, sizes: Any) -> Tensor:
    return tensors[0]


@pytest.mark.parametrize(
    ("kind", "how", "wrong"),
    [
        ("llama", "joined", _gate_last),
        ("llama", "by query group", _one_after_the_other),
        ("qwen3_next", "by query group, gates apart", _one_after_the_other),
        ("qwen3_next", "key heads apart", _one_after_the_other),
        ("qwen3_next", "less one", _as_it_is),
    ],
)
def test_a_wrong_arrangement_is_another_function(
    kind: str, how: str, wrong: Arrangement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the right shapes, loads, and is far from equal."""
    monkeypatch.setitem(arranging.ARRANGEMENTS, how, wrong)
    found = from_hugging_face(model(kind), assume=ASSUMED[kind]).eval()
    assert difference(kind, found, 40) > 100 * TOLERANCE
