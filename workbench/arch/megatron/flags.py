"""Megatron-LM's command-line flags that say what a model is: name, config field, kind of value, default. Pure: one table.

Most flags are made from the fields of `TransformerConfig`, `_` written as `-`. Source: the parser of
`megatron/training/arguments.py` as released with megatron-core 0.19.2, with which
`tests/contracts/test_megatron_flags.py` compares every row. Flags about running are in `run_flags`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from workbench.arch.megatron.fields import CAVEATS, Caveat

Kind = Literal["whole", "number", "text", "on", "off", "texts", "numbers"]


@dataclass(frozen=True)
class Flag:
    """One flag; `field` is what megatron's parser calls its value, `default` what it is without the flag.

    "on" and "off" take no value and set True and False; "texts" and "numbers" take one or more.
    """

    name: str
    kind: Kind
    default: Any = None
    field: str = ""

    def __post_init__(self) -> None:
        # The flag says the field, unless the table does.
        object.__setattr__(self, "field", self.field or self.name.removeprefix("--").replace("-", "_"))


MODEL_FLAGS: tuple[Flag, ...] = (
    # The stack
    Flag("--hybrid-layer-pattern", "text"),
    Flag("--hybrid-override-pattern", "text"),  # the same, before it was renamed
    Flag("--mtp-hybrid-override-pattern", "text"),  # one depth, beside a pattern without MTP
    Flag("--mtp-num-layers", "whole"),  # depths
    Flag("--mtp-use-repeated-layer", "on", False),
    Flag("--num-layers", "whole"),  # the pattern's count wins
    # The residual stream
    Flag("--hidden-size", "whole"),
    Flag("--normalization", "text", "LayerNorm"),
    Flag("--norm-epsilon", "number", 1e-5, "layernorm_epsilon"),
    Flag("--disable-bias-linear", "off", True, "add_bias_linear"),
    Flag("--hidden-dropout", "number", 0.1),
    Flag("--init-method-std", "number", 0.02),
    Flag("--embedding-init-method-std", "number"),
    # Vocabulary and positions
    Flag("--vocab-size", "whole"),
    Flag("--padded-vocab-size", "whole"),
    Flag("--make-vocab-size-divisible-by", "whole", 128),
    Flag("--no-pad-vocab-size", "off", True, "pad_vocab_size"),
    Flag("--disable-pad-vocab-size", "off", True, "pad_vocab_size"),
    Flag("--tensor-model-parallel-size", "whole", 1),  # the vocabulary is padded for every rank
    Flag("--untie-embeddings-and-output-weights", "on", False),
    Flag("--max-position-embeddings", "whole"),
    Flag("--seq-length", "whole"),
    Flag("--position-embedding-type", "text", "learned_absolute"),
    Flag("--use-rotary-position-embeddings", "on", False),
    Flag("--rotary-base", "whole", 10000),
    Flag("--rotary-percent", "number", 1.0),
    Flag("--rope-type", "text"),
    Flag("--rotary-scaling-factor", "number", 1.0),
    Flag("--mscale-all-dim", "number", 0.0),
    # Attention
    Flag("--num-attention-heads", "whole"),
    Flag("--group-query-attention", "on", False),
    Flag("--num-query-groups", "whole", 1),
    Flag("--kv-channels", "whole"),
    Flag("--add-qkv-bias", "on", False),
    Flag("--qk-layernorm", "on", False),
    Flag("--attention-output-gate", "on", False),
    Flag("--softmax-type", "text", "vanilla"),
    Flag("--attention-dropout", "number", 0.1),
    # MLP
    Flag("--ffn-hidden-size", "whole"),
    Flag("--swiglu", "on", False),
    Flag("--squared-relu", "on", False),
    Flag("--quick-geglu", "on", False),
    # Mamba-2
    Flag("--mamba-state-dim", "whole", 128),
    Flag("--mamba-head-dim", "whole", 64),
    Flag("--mamba-num-heads", "whole"),
    Flag("--mamba-num-groups", "whole", 8),
    # Gated delta net
    Flag("--linear-num-key-heads", "whole", 16),
    Flag("--linear-num-value-heads", "whole", 32),
    Flag("--linear-key-head-dim", "whole", 128),
    Flag("--linear-value-head-dim", "whole", 128),
    Flag("--linear-conv-kernel-dim", "whole", 4),
    # Latent and sparse attention
    Flag("--multi-latent-attention", "on", False),
    Flag("--q-lora-rank", "whole"),
    Flag("--kv-lora-rank", "whole", 32),
    Flag("--qk-head-dim", "whole", 128),
    Flag("--qk-pos-emb-head-dim", "whole", 64),
    Flag("--v-head-dim", "whole", 128),
    Flag("--mla-down-proj-fusion", "on", False),
    Flag("--experimental-attention-variant", "text"),
    Flag("--dsa-indexer-n-heads", "whole"),
    Flag("--dsa-indexer-head-dim", "whole"),
    Flag("--dsa-indexer-topk", "whole"),
    Flag("--dsa-indexer-loss-coeff", "number"),
    # Mixture of experts
    Flag("--num-experts", "whole"),
    Flag("--moe-router-topk", "whole", 2),
    Flag("--moe-ffn-hidden-size", "whole"),
    Flag("--moe-shared-expert-intermediate-size", "whole"),
    Flag("--moe-shared-expert-gate", "on", False),
    Flag("--moe-latent-size", "whole"),
    Flag("--moe-router-enable-expert-bias", "on", False),
    Flag("--moe-router-load-balancing-type", "texts", "aux_loss"),
    Flag("--moe-aux-loss-coeff", "numbers", 0.0),
    Flag("--moe-router-score-function", "text", "softmax"),
    Flag("--moe-router-pre-softmax", "on", False),
)

# Config fields with a flag of another name; fields with none.
_CALLED = {
    "layernorm_zero_centered_gamma": "--apply-layernorm-1p",
    "perform_initialization": "--no-initialization",
    "dsa_indexer_scoring_relu": "--no-dsa-indexer-scoring-relu",
    "fp8": "--fp8-format",
    "fp4": "--fp4-format",
    "num_moe_experts": "--num-experts",
}
NO_FLAG = frozenset(
    {"softmax_scale", "moe_router_topk_limited_devices", "moe_token_dropping", "heterogeneous_block_specs"}
    | {"quant_recipe", "use_kitchen"}
)


_SEVERAL = {"mrope_section"}  # fields that are lists


def _caveat_flag(caveat: Caveat) -> Flag:
    default = caveat.neutral[0]
    kind: Kind = "texts" if caveat.field in _SEVERAL else "text"
    if isinstance(default, bool):
        kind = "off" if default else "on"
    return Flag(flag_of(caveat.field), kind, default, caveat.field)


def flag_of(field: str) -> str:
    """The flag of a config field.

    >>> flag_of("num_query_groups"), flag_of("fp8")
    ('--num-query-groups', '--fp8-format')
    """
    known = {flag.field: flag.name for flag in MODEL_FLAGS}
    return _CALLED.get(field) or known.get(field) or f"--{field.replace('_', '-')}"


CAVEAT_FLAGS: tuple[Flag, ...] = (
    *(
        _caveat_flag(caveat)
        for caveat in CAVEATS
        if caveat.field not in NO_FLAG and caveat.field not in {flag.field for flag in MODEL_FLAGS}
    ),
    Flag("--disable-dsa-indexer-scoring-relu", "off", True, "dsa_indexer_scoring_relu"),
)

# Flags that are no field of the config: (flag, what it changes).
OTHER_CAVEATS: tuple[tuple[Flag, str], ...] = (
    (Flag("--no-position-embedding", "off", True, "add_position_embedding"), "refused today unless positions rotate"),
    (Flag("--rotary-seq-len-interpolation-factor", "whole"), "positions are divided by it before they rotate"),
    (Flag("--use-rope-scaling", "on", False), "stretches rotary frequencies in GPT models; hybrid models do not read it"),
    (Flag("--openai-gelu", "on", False), "another GELU in old models; hybrid models do not read it"),
    (Flag("--init-method-xavier-uniform", "on", False), "initial weights are not drawn from a normal distribution"),
    (Flag("--heterogeneous-layers-config-path", "text"), "every layer has sizes of its own"),
    (Flag("--heterogeneous-layers-config-encoded-json", "text"), "every layer has sizes of its own"),
    (Flag("--te-precision-config-file", "text"), "linears compute in fewer bits"),
    (Flag("--spec", "texts"), "says which modules are built"),
    (Flag("--yaml-cfg", "text"), "everything is read from that file instead"),
    (Flag("--use-checkpoint-args", "on", False), "sizes are read from the checkpoint, over these flags"),
)  # fmt: skip
