"""Our table of Megatron-LM's flags against the parser of the installed release, and both ways through its own config.

The wheel of megatron-core 0.19.2 holds `megatron.training` too, so upstream's own parser, checks and config builder
read what we write.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from tests.contracts.architectures import MEDIUM, ODD, OPTIONS, TINY, plain_sizes, random_cases
from workbench.arch.architecture import Architecture
from workbench.arch.megatron.arguments import from_arguments, to_arguments
from workbench.arch.megatron.fields import CAVEATS, HARMLESS
from workbench.arch.megatron.flags import CAVEAT_FLAGS, MODEL_FLAGS, NO_FLAG, OTHER_CAVEATS
from workbench.arch.megatron.run_flags import ONE_VALUE, SEVERAL_VALUES, SWITCHES
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion.sizes_of import sizes_of
from workbench.pattern.model import Pattern

training = pytest.importorskip("megatron.training.arguments", reason="this wheel has no megatron.training")

READ = (*MODEL_FLAGS, *CAVEAT_FLAGS, *(flag for flag, _ in OTHER_CAVEATS))
SIZES = {"tiny": TINY, "odd": ODD, "medium": MEDIUM}
# What a laptop without CUDA and Transformer Engine needs said, and what the checks ask for; all about running.
RUNNING = (
    "--micro-batch-size", "1", "--no-rope-fusion", "--no-masked-softmax-fusion", "--no-gradient-accumulation-fusion",
    "--transformer-impl", "local", "--no-persist-layer-norm", "--no-bias-swiglu-fusion", "--no-bias-gelu-fusion",
    "--moe-token-dispatcher-type", "allgather", "--lr", "1e-4",
)  # fmt: skip


@pytest.fixture(scope="module")
def options() -> dict[str, argparse.Action]:
    """Flag → what upstream's parser does with it."""
    parser = training.add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False))
    return {flag: action for action in parser._actions for flag in action.option_strings if flag != "-h"}


def values_taken(action: argparse.Action) -> int:
    """0, 1, or 2 for several."""
    return 0 if action.nargs == 0 else 1 if action.nargs is None else 2


def test_every_flag_is_in_exactly_one_place(options: dict[str, argparse.Action]) -> None:
    places = [SWITCHES, ONE_VALUE, SEVERAL_VALUES, {flag.name for flag in READ}]
    assert len(READ) == len({flag.name for flag in READ})
    assert sum(map(len, places)) == len(set().union(*places))
    assert options.keys() - set().union(*places) == set()
    assert set().union(*places) - options.keys() == set()


def test_flags_about_running_take_as_many_values(options: dict[str, argparse.Action]) -> None:
    for number, flags in enumerate((SWITCHES, ONE_VALUE, SEVERAL_VALUES)):
        assert {flag for flag in flags if values_taken(options[flag]) != number} == set()


@pytest.mark.parametrize("flag", READ, ids=lambda flag: flag.name)
def test_a_flag_that_is_read_is_as_upstream_has_it(flag: Any, options: dict[str, argparse.Action]) -> None:
    action = options[flag.name]
    assert (action.dest, action.default) == (flag.field, flag.default)
    numbers = {"on": 0, "off": 0, "texts": 2, "numbers": 2}
    assert values_taken(action) == numbers.get(flag.kind, 1)
    if flag.kind in ("on", "off"):
        assert action.const is (flag.kind == "on")
    if flag.kind in ("whole", "number", "numbers"):
        assert action.type is (int if flag.kind == "whole" else float)


def test_fields_without_a_flag(options: dict[str, argparse.Action]) -> None:
    named = {action.dest for action in options.values()}
    assert {caveat.field for caveat in CAVEATS} - named == NO_FLAG


def test_harmless_fields_are_flags_about_running(options: dict[str, argparse.Action]) -> None:
    running = SWITCHES | ONE_VALUE | SEVERAL_VALUES
    read = {"tensor_model_parallel_size"}  # for the padding of the vocabulary
    wrong = {flag for flag, action in options.items() if action.dest in HARMLESS - read and flag not in running}
    assert wrong == set()


# ------------------------------------------------------------------------------------ through upstream


def upstream(arguments: tuple[str, ...]) -> Any:
    """The `HybridModelConfig` that Megatron-LM makes of a command line, with a rank for every stage of the pattern."""
    from megatron.training.argument_utils import hybrid_config_from_args

    stages = str(len(from_arguments(arguments).pattern.stages))
    line = ["pretrain_hybrid.py", *arguments, *RUNNING, "--pipeline-model-parallel-size", stages]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", line)
        patch.setenv("WORLD_SIZE", stages)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = training.parse_args()
            training.validate_args(parsed)
            return hybrid_config_from_args(parsed)


def read_by_upstream(arguments: tuple[str, ...]) -> tuple[Pattern, ModelSizes, tuple[str, ...]]:
    config = upstream(arguments)
    multiple = config.make_vocab_size_divisible_by if config.should_pad_vocab else 1
    found = sizes_of(
        config.transformer,
        vocab_size=-(-config.vocab_size // multiple) * multiple,
        max_sequence_length=config.seq_length,
        share_embeddings_and_output_weights=config.share_embeddings_and_output_weights,
        position_embedding_type=config.position_embedding_type,
        rotary_percent=config.rotary_percent,
        rotary_base=config.rotary_base,
    )
    return Pattern(config.hybrid_layer_pattern), found.sizes, found.caveats


def assert_upstream_agrees(text: str, sizes: ModelSizes) -> None:
    """What we write is read alike by upstream and by us, and is the architecture that we wrote."""
    pattern = Pattern(text)
    arguments = to_arguments(pattern, sizes)
    theirs, read, caveats = read_by_upstream(arguments)
    ours = from_arguments(arguments)
    assert theirs == ours.pattern == pattern.unfused()
    assert (caveats, ours.caveats) == ((), ())
    assert plain_sizes(pattern, read) == plain_sizes(pattern, ours.sizes) == plain_sizes(pattern, sizes)
    assert Architecture(pattern, ours.sizes).built("local") == Architecture(pattern, sizes).built("local")


def writable(text: str, sizes: ModelSizes) -> bool:
    try:
        to_arguments(text, sizes)
    except WorkbenchError as error:
        return "cannot be written" not in str(error)
    return True


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("option", OPTIONS)
def test_upstream_reads_what_we_write(option: str, size: str) -> None:
    pattern, changes = OPTIONS[option]
    sizes = ModelSizes(**{**SIZES[size], **changes})
    if not writable(pattern, sizes):
        assert option in ("geglu",)
        return
    assert_upstream_agrees(pattern, sizes)


@given(random_cases())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_upstream_reads_random_models(case: tuple[str, dict[str, Any]]) -> None:
    pattern, values = case
    sizes = ModelSizes(**values)
    assume(writable(pattern, sizes))
    # Two MLPs and nothing else: argparse of Python 3.12.1 drops a value of `--`, also behind a `=`.
    assume(str(Pattern(pattern).unfused()) != "--")
    assert_upstream_agrees(pattern, sizes)


# What nobody wrote with our sizes in mind: missing flags, derived sizes, older names.
LEAST = ("--hidden-size", "192", "--num-attention-heads", "4", "--max-position-embeddings", "64", "--seq-length", "64")
LINES: dict[str, tuple[str, ...]] = {
    "defaults": ("--hybrid-layer-pattern", "*-", "--vocab-size", "1000"),
    "Mamba's defaults": ("--hybrid-layer-pattern", "M", "--vocab-size", "1000", "--hidden-size", "256"),
    "gated": ("--hybrid-layer-pattern", "*-", "--vocab-size", "1000", "--swiglu", "--disable-bias-linear"),
    "groups": ("--hybrid-override-pattern", "*", "--vocab-size", "1000", "--group-query-attention"),
    "groups that are not on": ("--hybrid-layer-pattern", "*", "--vocab-size", "1000", "--num-query-groups", "2"),
    "padded": ("--hybrid-layer-pattern", "-", "--padded-vocab-size", "1000"),
    "multiple": ("--hybrid-layer-pattern", "-", "--vocab-size", "1000", "--make-vocab-size-divisible-by", "64"),
    "latent": ("--hybrid-layer-pattern", "+", "--vocab-size", "1000", "--position-embedding-type", "rope"),
    "stretched": (
        "--hybrid-layer-pattern", "+", "--vocab-size", "1000", "--position-embedding-type", "rope",
        "--rotary-scaling-factor", "40", "--mscale-all-dim", "1.0",
    ),
    "experts": (
        "--hybrid-layer-pattern", "E", "--vocab-size", "1000", "--num-experts", "8", "--swiglu",
        "--moe-router-load-balancing-type", "seq_aux_loss", "--moe-aux-loss-coeff", "0.001",
        "--moe-router-score-function", "sigmoid", "--moe-router-enable-expert-bias",
        "--moe-router-topk-scaling-factor", "2.5", "--moe-z-loss-coeff", "0.01",
    ),
    "gamma": ("--hybrid-layer-pattern", "G", "--vocab-size", "1000", "--apply-layernorm-1p"),
    "old MTP": (
        "--hybrid-override-pattern", "*-", "--mtp-hybrid-override-pattern", "*", "--mtp-num-layers", "2",
        "--vocab-size", "1000", "--position-embedding-type", "rope", "--rotary-percent", "0.5",
    ),
    "old rotation": ("--hybrid-layer-pattern", "*", "--vocab-size", "1000", "--use-rotary-position-embeddings"),
    "layers that do not count": ("--hybrid-layer-pattern", "*-", "--vocab-size", "1000", "--num-layers", "7"),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_we_read_what_upstream_reads(case: str) -> None:
    arguments = (*LEAST, *LINES[case])
    pattern, sizes, caveats = read_by_upstream(arguments)
    ours = from_arguments(arguments)
    assert (ours.pattern, plain_sizes(pattern, ours.sizes)) == (pattern, plain_sizes(pattern, sizes))
    # The same caveats, by the name of the flag there and of the field here; ours also say what upstream overrides.
    assert [text.partition(": ")[2] for text in caveats] == [
        text.partition(": ")[2].replace("--rotary-scaling-factor", "rotary_scaling_factor")
        for text in ours.caveats
        if not text.startswith("--num-layers")
    ]
