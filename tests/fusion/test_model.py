"""`build_model`: plain upstream models, several in one process, patterns found again through wrappers."""

from __future__ import annotations

import pytest
import torch
from megatron.core.models.hybrid.hybrid_model import HybridModel
from torch import nn

from tests.fusion.building import SEED, assert_same_run, build, run, tokens
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.model import build_model, forward_logits, forward_tokens, pattern_of, positions
from workbench.fusion.trainer import make_trainer, train_step
from workbench.pattern.diagnostics import PatternError
from workbench.pattern.model import Pattern


def test_a_model_is_upstreams_own() -> None:
    model = build_model("M[*-]", backend="local")
    assert type(model) is HybridModel
    assert model.hybrid_layer_pattern == "M*-"
    assert (str(model.pattern), model.backend) == ("M[*-]", "local")


def test_a_pattern_may_be_given_as_a_text_or_as_a_pattern() -> None:
    left, right = (build_model(pattern, seed=SEED) for pattern in ("[M-]", Pattern("[M-]")))
    assert_same_run(left, right)


@pytest.mark.parametrize("pattern", ["", "|", "/", "||"])
def test_an_empty_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(WorkbenchError, match="an empty pattern has no layers: there is no model to build"):
        build_model(pattern)


def test_a_pattern_that_is_none_is_an_error_with_carets() -> None:
    with pytest.raises(PatternError) as error:
        build_model("M[-*]")
    assert "^" in str(error.value)


def test_what_megatron_cannot_build_is_said_with_the_pattern() -> None:
    with pytest.raises(WorkbenchError, match=r"^megatron cannot build \[M-\] with this config: .*no_such_argument"):
        build_model("[M-]", no_such_argument=1)


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (build_model("[M-]", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.embedding.word_embeddings.weight, same.embedding.word_embeddings.weight)
    assert not torch.equal(one.embedding.word_embeddings.weight, other.embedding.word_embeddings.weight)


def test_sizes_reach_the_model() -> None:
    model = build_model("[*-]", ModelSizes(vocab_size=200, max_sequence_length=32, tied_embeddings=True))
    assert (model.vocab_size, model.max_sequence_length) == (200, 32)
    assert model.share_embeddings_and_output_weights
    assert model.output_layer.weight is None


@pytest.mark.parametrize(
    ("pattern", "sizes", "expected"),
    [
        ("[*-]", ModelSizes(), "rope"),
        ("M-/[*-]", ModelSizes(), "rope"),
        ("[M-]", ModelSizes(), "none"),
        ("[+-]", ModelSizes(), "none"),
        ("[*-]", ModelSizes(position_embedding="none"), "none"),
    ],
)
def test_the_model_rotates_only_for_self_attention(pattern: str, sizes: ModelSizes, expected: str) -> None:
    assert build_model(pattern, sizes).position_embedding_type == expected


def test_a_larger_second_model_runs_and_trains_in_the_same_process() -> None:
    """Megatron's trackers are sized by the first model of a process."""
    small = make_trainer(build("[ME]/[*E]"))
    train_step(small, tokens())
    large = make_trainer(build("[ME][*E][GE]E[M-][*E]/[*E]/[*E]"))
    first = train_step(large, tokens())
    second = train_step(large, tokens())
    assert first.loss is not None
    assert second.loss is not None
    assert second.loss < first.loss


def test_a_larger_second_model_with_sparse_attention_runs() -> None:
    run(build("[D-]"))
    run(build("[D-][+-][DE]"))


def test_a_larger_second_model_is_not_touched_by_the_first() -> None:
    alone = run(build("[ME][*E]E/[*E]/[*E]"))
    run(build("E"))
    assert torch.equal(run(build("[ME][*E]E/[*E]/[*E]")).losses, alone.losses)


def test_two_models_take_turns() -> None:
    one, other = build("[ME]"), build("[*E][ME]/[*E]")
    first, second = run(one), run(other)
    assert torch.equal(run(one).losses, first.losses)
    assert torch.equal(run(other).losses, second.losses)


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_the_pattern_of_a_model_and_through_wrappers() -> None:
    model = build("M[*-]|[ME]/[*-]")
    assert pattern_of(model) == Pattern("M[*-]|[ME]/[*-]")
    assert pattern_of(Wrapper(Wrapper(model))) is model.pattern
    assert pattern_of(make_trainer(model).model) is model.pattern
    trainer = make_trainer(build("[M-]", dtype="bf16"))
    assert str(pattern_of(trainer.model)) == "[M-]"


@pytest.mark.parametrize("model", [nn.Linear(1, 1), Wrapper(nn.Linear(1, 1))])
def test_a_model_of_somebody_elses_has_no_known_pattern(model: nn.Module) -> None:
    with pytest.raises(WorkbenchError) as error:
        pattern_of(model)
    assert str(error.value) == (
        "this model was not built by workbench.fusion.model.build_model: its pattern is not known"
    )


def test_losses_are_those_of_the_logits() -> None:
    model = build("M[*-]")
    batch = tokens()
    with torch.no_grad():
        losses, logits = forward_tokens(model, batch), forward_logits(model, batch[:, :-1])
    assert logits.shape == (2, 16, 128)
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
    torch.testing.assert_close(losses, expected.view(2, 16))


def test_positions_count_from_zero_in_every_row() -> None:
    assert positions(torch.zeros(2, 3, dtype=torch.int64)).tolist() == [[0, 1, 2], [0, 1, 2]]


def test_a_model_starts_a_runtime_where_none_runs() -> None:
    assert runtime.require() is runtime.current()


@pytest.mark.gpu
@pytest.mark.te
@pytest.mark.parametrize("pattern", ["M[*-]M[ME]", "[M-][G-]", "[+-][+E]", "[M-][*E]/[*-]/[*-]"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_with_transformer_engine_twins_are_equal_on_a_gpu(pattern: str, dtype: str) -> None:
    from workbench.compare.equivalence import verify

    verdict = verify(pattern, backend="te", dtype=dtype, steps=3)
    assert verdict.equivalent, [check for check in verdict.checks if not check.passed]


@pytest.mark.gpu
def test_on_a_gpu_nothing_is_substituted() -> None:
    from workbench.fusion import cpu_platform

    assert not cpu_platform.installed()
    assert runtime.require().device.startswith("cuda")
    assert next(build("[M-]").parameters()).is_cuda
