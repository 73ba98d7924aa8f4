"""verify(): the whole verdict, for every combination and the patterns people write; and what it does with bad input."""

from __future__ import annotations

import json
import os

import pytest
import torch

from workbench.arch.sizes import ModelSizes
from workbench.compare import equivalence
from workbench.compare.equivalence import CHECKS, verify
from workbench.compare.session import Session
from workbench.compare.verdict import Check, Verdict
from workbench.errors import WorkbenchError
from workbench.pattern.diagnostics import PatternError
from workbench.pattern.symbols import CHANNEL_MIXERS, SEQUENCE_MIXERS

PAIRS = [f"[{mixer}{channel}]" for mixer in SEQUENCE_MIXERS for channel in CHANNEL_MIXERS]
ORDER = [
    "sublayers",
    "initial_weights",
    "fused_path",
    "logits",
    "loss",
    "gradients",
    "training",
    "checkpoint_left_to_right",
    "checkpoint_right_to_left",
    "resume",
]


def assert_equivalent(verdict: Verdict) -> None:
    assert verdict.equivalent, [(check.name, check.summary) for check in verdict.failed]
    assert [check.name for check in verdict.checks] == ORDER


def test_there_are_ten_pairs() -> None:
    assert len(PAIRS) == 10


@pytest.mark.parametrize("pattern", PAIRS)
def test_every_pair(pattern: str) -> None:
    verdict = verify(pattern, steps=2)
    assert_equivalent(verdict)
    ((name, module),) = verdict.left.modules
    assert name == "decoder.layers.0"
    assert module == ("MoETransformerLayer " if "E" in pattern else "TransformerLayer ") + pattern
    path = verdict.checks[2].measured
    assert (path["left_block_calls"], path["left_fused_calls"]) == (1, 1)
    assert (path["right_block_calls"], path["right_fused_calls"]) == (2, 0)


@pytest.mark.parametrize(
    ("pattern", "modules"),
    [
        ("M[*-]M[ME]", 4),
        ("[G-][*E]", 2),
        ("[DE]+-", 3),
        ("M*-E", 4),
        ("[M-][*-]|[ME]-", 4),
        ("M*-/[*-]/[*-]", 5),
        ("[M-]|[*E]/[ME]", 3),
    ],
)
def test_patterns_that_people_write(pattern: str, modules: int) -> None:
    verdict = verify(pattern)
    assert_equivalent(verdict)
    assert len(verdict.left.modules) == modules


@pytest.mark.parametrize("pattern", ["M[*-]M[ME]", "[G-][*E]", "[DE][+-]"])
@pytest.mark.parametrize("options", [{"dtype": "bf16"}, {"dropout": 0.1}, {"dtype": "bf16", "dropout": 0.1}])
def test_bf16_and_dropout(pattern: str, options: dict[str, object]) -> None:
    assert_equivalent(verify(pattern, steps=2, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sizes",
    [
        {"linear_bias": True, "normalization": "LayerNorm", "activation": "gelu"},
        {"qk_layernorm": True, "qkv_bias": True, "attention_output_gate": True},
        {"tied_embeddings": True, "position_embedding": "none"},
        {"moe_shared_ffn": 32, "moe_router_bias": True, "shared_expert_gate": True, "linear_bias": False},
    ],
)
def test_other_sizes(sizes: dict[str, object]) -> None:
    assert_equivalent(verify("[M-][*E]", sizes=ModelSizes(**sizes), steps=2))  # type: ignore[arg-type]


def test_two_fusions_of_the_same_symbols() -> None:
    verdict = verify("[M-]*-", against="M-[*-]", steps=1)
    assert_equivalent(verdict)
    assert (verdict.left.pattern, verdict.right.pattern) == ("[M-]*-", "M-[*-]")


def test_other_symbols_are_no_twins_and_nothing_else_runs() -> None:
    verdict = verify("[M-]", against="[ME]", steps=1)
    assert not verdict.equivalent
    assert verdict.checks[0].passed is False
    assert {check.passed for check in verdict.checks[1:]} == {None}
    assert {check.summary for check in verdict.checks[1:]} == {"not run: the two do not have the same sub-layers"}


def test_a_check_that_cannot_run_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(session: Session) -> Check:
        """Does it?"""
        raise RuntimeError("no memory\nsecond line")

    monkeypatch.setattr(equivalence, "CHECKS", (CHECKS[0], ("logits", broken)))
    verdict = verify("[M-]", steps=1)
    assert not verdict.equivalent
    assert verdict.checks[1].passed is None
    assert verdict.checks[1].summary == "could not run: RuntimeError: no memory"


def test_one_failed_check_is_not_equivalent(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(session: Session) -> Check:
        return Check("logits", "?", False, "broken on purpose")

    monkeypatch.setattr(equivalence, "CHECKS", (CHECKS[0], ("logits", failing), CHECKS[1]))
    verdict = verify("[M-]", steps=1)
    assert not verdict.equivalent
    assert [check.passed for check in verdict.checks] == [True, False, True]


def test_the_same_run_gives_the_same_numbers() -> None:
    one, two = (verify("M[*E]", steps=2) for _ in range(2))
    assert one.environment == two.environment
    assert [check.measured for check in one.checks] == [check.measured for check in two.checks]


def test_another_seed_gives_other_numbers() -> None:
    digests = {verify("[*-]", steps=1, seed=seed).environment["digests"]["left"] for seed in (1, 2)}
    assert len(digests) == 2


def test_the_verdict_says_what_it_was_obtained_with_and_survives_json() -> None:
    verdict = verify("[*-]", steps=1)
    environment = verdict.environment
    assert environment["versions"]["megatron-core"].startswith("0.19.")
    assert environment["tolerance"] == "bitwise"
    assert environment["sizes"]["hidden_size"] == 64
    assert environment["digests"]["left"] == environment["digests"]["right"]
    assert {"import", "build", "checks", "total"} <= verdict.seconds.keys()
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_progress_is_told_check_by_check() -> None:
    seen: list[Check] = []
    verdict = verify("[*-]", steps=1, progress=seen.append)
    assert tuple(seen) == verdict.checks


def test_threads_are_given_back() -> None:
    torch.set_num_threads(2)
    verify("[*-]", steps=1)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("pattern", ["", "/M", "||"])
def test_an_empty_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(WorkbenchError, match="an empty pattern has no layers"):
        verify(pattern)


def test_bad_input_is_refused() -> None:
    with pytest.raises(PatternError):
        verify("M[*")
    with pytest.raises(PatternError):
        verify("M", against="Q")
    with pytest.raises(WorkbenchError, match="steps must be at least 1, not 0"):
        verify("M", steps=0)
    with pytest.raises(WorkbenchError, match="tolerances must be at least 0"):
        verify("M", atol=-1.0)
    with pytest.raises(WorkbenchError, match="dtype must be one of"):
        verify("M", dtype="fp8")
    with pytest.raises(WorkbenchError, match="backend must be one of"):
        verify("M", backend="tpu")
    with pytest.raises(WorkbenchError, match="kv_lora_rank"):
        verify("[+-]", sizes=ModelSizes(kv_lora_rank=None))


@pytest.mark.gpu
@pytest.mark.te
@pytest.mark.parametrize("pattern", ["M[*-]M[ME]", "[G-][*E]"])
def test_on_a_gpu_with_transformer_engine(pattern: str) -> None:
    """Kernels on a GPU may sum in another order from run to run, so this asks for a tolerance, which the verdict names."""
    verdict = verify(pattern, backend="te", dtype="bf16", atol=1e-2, rtol=1e-2, threads=None)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    assert verdict.environment["backend"] == "te"
    assert_equivalent(verdict)
