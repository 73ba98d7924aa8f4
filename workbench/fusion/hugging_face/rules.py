"""Which Hugging Face tensors make up which canonical tensor: one table a family, rows of names, nothing else. Pure.

A row reads from left to right: the canonical name within a sub-layer, the tensors that it is made of within the Hugging
Face layer, and how (a word of `arranging.ARRANGEMENTS`). In a name `{kind}` stands for `weight` or `bias`, `{expert}` for
an expert's number, `[{expert}]` for that entry of a tensor that holds all experts. Several rows for one canonical name are
alternatives: what `save_pretrained` writes, and what a model of transformers 5 holds in memory.

The names are those of transformers 5.24 (`src/transformers/models/<family>/modeling_<family>.py`, and
`conversion_mapping.py` for the names in files).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

_PARTS = {"kind": "weight|bias", "expert": r"\d+"}

# Held by old files, and computed from the configuration by every model: no weight.
DERIVED = ("self_attn.rotary_emb.inv_freq",)


@dataclass(frozen=True)
class Row:
    """`ours` is made of `theirs`, `how` says in which way."""

    ours: str
    theirs: tuple[str, ...]
    how: str = "same"

    def sources(self, name: str) -> tuple[str, ...] | None:
        """The Hugging Face names for a canonical name, or None where this row is for others.

        >>> row("mlp.linear_fc1.{kind}", "mlp.up_proj.{kind}").sources("mlp.linear_fc1.bias")
        ('mlp.up_proj.bias',)
        """
        parts = re.split(r"\{(\w+)\}", self.ours)
        text = "".join(f"(?P<{part}>{_PARTS[part]})" if at % 2 else re.escape(part) for at, part in enumerate(parts))
        match = re.fullmatch(text, name)
        return None if match is None else tuple(each.format(**match.groupdict()) for each in self.theirs)


Rows = tuple[Row, ...]


def row(ours: str, *theirs: str, how: str = "same") -> Row:
    """A row of a table."""
    return Row(ours, theirs, how)


@dataclass(frozen=True)
class Family:
    """The rows of a `model_type`: `outside` the layers, with whole names, and of every layer kind.

    `roots` are the prefixes that a model may have, for `{root}`. A Hugging Face layer holds `sublayers` of ours.
    """

    kinds: Mapping[str, Rows]
    outside: Rows
    roots: tuple[str, ...] = ("model.",)
    sublayers: int = 2

    def layer(self, root: str, index: int) -> str:
        """The prefix of the Hugging Face layer that holds a sub-layer."""
        return f"{root}layers.{index // self.sublayers}."

    def rows_for(self, symbol: str, name: str) -> Iterator[tuple[Row, tuple[str, ...]]]:
        """(row, Hugging Face names) of every row for a canonical name within a sub-layer."""
        for each in self.kinds.get(symbol, ()):
            if (sources := each.sources(name)) is not None:
                yield each, sources


# ------------------------------------------------------------------------------------------- layer kinds

ATTENTION = (
    row("self_attention.linear_qkv.layer_norm_weight", "input_layernorm.weight"),
    row(
        "self_attention.linear_qkv.{kind}",
        "self_attn.q_proj.{kind}",
        "self_attn.k_proj.{kind}",
        "self_attn.v_proj.{kind}",
        how="by query group",
    ),
    row("self_attention.q_layernorm.weight", "self_attn.q_norm.weight"),
    row("self_attention.k_layernorm.weight", "self_attn.k_norm.weight"),
    row("self_attention.linear_proj.{kind}", "self_attn.o_proj.{kind}"),
)
# Every query head's rows are followed by those of its gate.
GATED_ATTENTION = tuple(
    replace(each, how="by query group, gates apart") if each.how == "by query group" else each for each in ATTENTION
)
GATED_MLP = (
    row("mlp.linear_fc1.layer_norm_weight", "post_attention_layernorm.weight"),
    row("mlp.linear_fc1.{kind}", "mlp.gate_proj.{kind}", "mlp.up_proj.{kind}", how="joined"),
    row("mlp.linear_fc2.{kind}", "mlp.down_proj.{kind}"),
)
EXPERTS = (
    row("pre_mlp_layernorm.weight", "post_attention_layernorm.weight"),
    row("mlp.router.weight", "mlp.gate.weight"),
    row("mlp.experts.linear_fc1.weight{expert}", "mlp.experts.gate_up_proj[{expert}]"),
    row("mlp.experts.linear_fc2.weight{expert}", "mlp.experts.down_proj[{expert}]"),
    row(
        "mlp.experts.linear_fc1.weight{expert}",
        "mlp.experts.{expert}.gate_proj.weight",
        "mlp.experts.{expert}.up_proj.weight",
        how="joined",
    ),
    row("mlp.experts.linear_fc2.weight{expert}", "mlp.experts.{expert}.down_proj.weight"),
    row("mlp.shared_experts.gate_weight", "mlp.shared_expert_gate.weight"),
    row(
        "mlp.shared_experts.linear_fc1.weight",
        "mlp.shared_expert.gate_proj.weight",
        "mlp.shared_expert.up_proj.weight",
        how="joined",
    ),
    row("mlp.shared_experts.linear_fc2.weight", "mlp.shared_expert.down_proj.weight"),
)
# In files the experts have the numbers of Mixtral's paper: w1 is the gate, w3 its factor, w2 the way down.
MIXTRAL_EXPERTS = (
    *EXPERTS[:4],
    row("mlp.router.weight", "block_sparse_moe.gate.weight"),
    row(
        "mlp.experts.linear_fc1.weight{expert}",
        "block_sparse_moe.experts.{expert}.w1.weight",
        "block_sparse_moe.experts.{expert}.w3.weight",
        how="joined",
    ),
    row("mlp.experts.linear_fc2.weight{expert}", "block_sparse_moe.experts.{expert}.w2.weight"),
)
MAMBA = (
    row("mixer.in_proj.layer_norm_weight", "norm.weight"),
    row("mixer.in_proj.weight", "mixer.in_proj.weight"),
    row("mixer.conv1d_{kind}", "mixer.conv1d.{kind}"),
    row("mixer.dt_bias", "mixer.dt_bias"),
    row("mixer.A_log", "mixer.A_log"),
    row("mixer.D", "mixer.D"),
    row("mixer.norm.weight", "mixer.norm.weight"),
    row("mixer.out_proj.weight", "mixer.out_proj.weight"),
)
GATED_DELTA_NET = (
    row("self_attention.in_proj.layer_norm_weight", "input_layernorm.weight"),
    row(
        "self_attention.in_proj.weight",
        "linear_attn.in_proj_qkvz.weight",
        "linear_attn.in_proj_ba.weight",
        how="key heads apart",
    ),
    row("self_attention.conv1d.weight", "linear_attn.conv1d.weight"),
    row("self_attention.dt_bias", "linear_attn.dt_bias"),
    row("self_attention.A_log", "linear_attn.A_log"),
    # The only norm of the family that is not zero-centred; in Megatron all are or none.
    row("self_attention.out_norm.weight", "linear_attn.norm.weight", how="less one"),
    row("self_attention.out_proj.weight", "linear_attn.out_proj.weight"),
)
# Qwen3.5 has apart what Qwen3-Next has by key head.
SPLIT_DELTA_NET = tuple(
    row(
        each.ours,
        "linear_attn.in_proj_qkv.weight",
        "linear_attn.in_proj_z.weight",
        "linear_attn.in_proj_b.weight",
        "linear_attn.in_proj_a.weight",
        how="joined",
    )
    if each.how == "key heads apart"
    else each
    for each in GATED_DELTA_NET
)
LATENT_ATTENTION = (
    row("input_layernorm.weight", "input_layernorm.weight"),
    row("self_attention.linear_q_down_proj.weight", "self_attn.q_a_proj.weight"),
    row("self_attention.linear_q_up_proj.layer_norm_weight", "self_attn.q_a_layernorm.weight"),
    row("self_attention.linear_q_up_proj.weight", "self_attn.q_b_proj.weight"),
    row("self_attention.linear_kv_down_proj.weight", "self_attn.kv_a_proj_with_mqa.weight"),
    row("self_attention.linear_kv_up_proj.layer_norm_weight", "self_attn.kv_a_layernorm.weight"),
    row("self_attention.linear_kv_up_proj.weight", "self_attn.kv_b_proj.weight"),
    row("self_attention.linear_proj.weight", "self_attn.o_proj.weight"),
)
DEEPSEEK_EXPERTS = (
    *(each for each in EXPERTS if "shared_experts" not in each.ours),
    row("mlp.router.expert_bias", "mlp.gate.e_score_correction_bias"),
    row(
        "mlp.shared_experts.linear_fc1.weight",
        "mlp.shared_experts.gate_proj.weight",
        "mlp.shared_experts.up_proj.weight",
        how="joined",
    ),
    row("mlp.shared_experts.linear_fc2.weight", "mlp.shared_experts.down_proj.weight"),
)
# Bamba's mixer is `mamba` and stands before an MLP of its own name.
BAMBA_MAMBA = (
    row("mixer.in_proj.layer_norm_weight", "input_layernorm.weight"),
    *(replace(each, theirs=(each.theirs[0].replace("mixer.", "mamba."),)) for each in MAMBA[1:]),
)
BAMBA_MLP = (
    row("mlp.linear_fc1.layer_norm_weight", "pre_ff_layernorm.weight"),
    row("mlp.linear_fc1.{kind}", "feed_forward.gate_proj.{kind}", "feed_forward.up_proj.{kind}", how="joined"),
    row("mlp.linear_fc2.{kind}", "feed_forward.down_proj.{kind}"),
)
# NemotronH calls every layer's norm `norm` and whatever follows it `mixer`.
NEMOTRON_ATTENTION = (
    row("self_attention.linear_qkv.layer_norm_weight", "norm.weight"),
    row(
        "self_attention.linear_qkv.{kind}",
        "mixer.q_proj.{kind}",
        "mixer.k_proj.{kind}",
        "mixer.v_proj.{kind}",
        how="by query group",
    ),
    row("self_attention.linear_proj.{kind}", "mixer.o_proj.{kind}"),
)
NEMOTRON_MLP = (
    row("mlp.linear_fc1.layer_norm_weight", "norm.weight"),
    row("mlp.linear_fc1.{kind}", "mixer.up_proj.{kind}"),
    row("mlp.linear_fc2.{kind}", "mixer.down_proj.{kind}"),
)
NEMOTRON_EXPERTS = (
    row("pre_mlp_layernorm.weight", "norm.weight"),
    row("mlp.router.weight", "mixer.gate.weight"),
    row("mlp.router.expert_bias", "mixer.gate.e_score_correction_bias"),
    row("mlp.fc1_latent_proj.weight", "mixer.fc1_latent_proj.weight"),
    row("mlp.fc2_latent_proj.weight", "mixer.fc2_latent_proj.weight"),
    row("mlp.experts.linear_fc1.weight{expert}", "mixer.experts.up_proj[{expert}]"),
    row("mlp.experts.linear_fc2.weight{expert}", "mixer.experts.down_proj[{expert}]"),
    row("mlp.experts.linear_fc1.weight{expert}", "mixer.experts.{expert}.up_proj.weight"),
    row("mlp.experts.linear_fc2.weight{expert}", "mixer.experts.{expert}.down_proj.weight"),
    row("mlp.shared_experts.linear_fc1.weight", "mixer.shared_experts.up_proj.weight"),
    row("mlp.shared_experts.linear_fc2.weight", "mixer.shared_experts.down_proj.weight"),
)

# ---------------------------------------------------------------------------------------------- families

_HEAD = row("output_layer.weight", "lm_head.weight")
_LLAMA_OUTSIDE = (
    row("embedding.word_embeddings.weight", "{root}embed_tokens.weight"),
    row("decoder.final_norm.weight", "{root}norm.weight"),
    _HEAD,
)
_MAMBA_OUTSIDE = (
    row("embedding.word_embeddings.weight", "{root}embeddings.weight"),
    row("decoder.final_norm.weight", "{root}norm_f.weight"),
    _HEAD,
)
_BAMBA_OUTSIDE = (
    _LLAMA_OUTSIDE[0],
    row("decoder.final_norm.weight", "{root}final_layernorm.weight"),
    _HEAD,
)
_DENSE = Family({"*": ATTENTION, "-": GATED_MLP}, _LLAMA_OUTSIDE)

_QWEN3_5 = Family(
    {"G": SPLIT_DELTA_NET, "*": GATED_ATTENTION, "-": GATED_MLP, "E": EXPERTS},
    _LLAMA_OUTSIDE,
    ("model.language_model.", "model."),
)

FAMILIES: Mapping[str, Family] = {
    "bamba": Family({"M": BAMBA_MAMBA, "*": ATTENTION, "-": BAMBA_MLP}, _BAMBA_OUTSIDE),
    "deepseek_v3": Family({"+": LATENT_ATTENTION, "-": GATED_MLP, "E": DEEPSEEK_EXPERTS}, _LLAMA_OUTSIDE),
    "llama": _DENSE,
    "mamba2": Family({"M": MAMBA}, _MAMBA_OUTSIDE, ("backbone.",), 1),
    "mistral": _DENSE,
    "mixtral": Family({"*": ATTENTION, "E": MIXTRAL_EXPERTS}, _LLAMA_OUTSIDE),
    "nemotron_h": Family(
        {"M": MAMBA, "*": NEMOTRON_ATTENTION, "-": NEMOTRON_MLP, "E": NEMOTRON_EXPERTS},
        _MAMBA_OUTSIDE,
        ("backbone.", "model."),
        1,
    ),
    "qwen2": _DENSE,
    "qwen3": _DENSE,
    # With text_config a model of pictures too, of which the language part is read.
    "qwen3_5": _QWEN3_5,
    "qwen3_5_moe": _QWEN3_5,
    "qwen3_5_moe_text": _QWEN3_5,
    "qwen3_5_text": _QWEN3_5,
    "qwen3_moe": Family({"*": ATTENTION, "-": GATED_MLP, "E": EXPERTS}, _LLAMA_OUTSIDE),
    "qwen3_next": Family({"G": GATED_DELTA_NET, "*": GATED_ATTENTION, "-": GATED_MLP, "E": EXPERTS}, _LLAMA_OUTSIDE),
}
