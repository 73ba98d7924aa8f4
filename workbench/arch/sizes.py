"""The sizes of a model: every number that a pattern leaves open. Pure.

Field names are those of published architectures as collected in presets (`hidden_size`, `moe_topk`, ...). `None` means
"not there": no experts, no q compression, as many query groups as heads. The defaults are a tiny model that has every
layer kind and runs in milliseconds on a CPU.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from workbench.arch.reading import naming, read_json
from workbench.errors import WorkbenchError

ACTIVATIONS = ("swiglu", "geglu", "gelu", "squared_relu", "silu", "relu")
NORMALIZATIONS = ("RMSNorm", "LayerNorm")
GATED = {"swiglu", "geglu"}
MOST = 2**40  # of any number: arithmetic stays quick, and a float can hold every result
# A preset may say that it is the value of a framework, as in "gelu (Megatron default)".
_REMARK = re.compile(r" \([^)]*default\)$")
_POSITION = re.compile(r"(m?rope)(?: (\d{1,3})%)?( \(yarn\)|/yarn)?")


class SizesError(WorkbenchError):
    """A size that cannot be; the text names the field."""


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Sizes in elements unless a name says otherwise; see the groups below.

    Raises `SizesError` (a `ValueError`) when a value is of the wrong type or range or two contradict each other.
    """

    # The residual stream and the vocabulary
    hidden_size: int = 64
    vocab_size: int | None = 128  # None: not published; a model needs one
    vocab_multiple: int = 1  # the embedding has vocab_size rounded up to a multiple of this
    max_sequence_length: int = 64  # tokens
    tied_embeddings: bool = False
    # "rope", "rope 25%", "none", "learned_absolute" (a table of max_sequence_length); "rope (yarn)" and "mrope 25%" are
    # read, not built.
    position_embedding: str | None = "rope"
    rotary_base: int = 10000
    normalization: str = "RMSNorm"
    norm_epsilon: float = 1e-5
    linear_bias: bool = False
    initializer_std: float = 0.02

    # Self-attention `*`
    num_attention_heads: int | None = 4
    num_query_groups: int | None = 2  # None: as many as heads
    head_dim: int | None = None  # None: hidden_size / num_attention_heads
    qk_layernorm: bool = False  # of latent attention too
    qkv_bias: bool = False
    attention_output_gate: bool = False
    attention_sinks: bool = False  # one learned logit a head in the softmax's denominator (gpt-oss)

    # MLP `-`
    ffn_hidden_size: int | None = 128
    activation: str | None = "swiglu"

    # Mamba-2 `M`
    mamba_state_dim: int | None = 16
    mamba_head_dim: int | None = 16
    mamba_num_heads: int | None = None  # None: 2 × hidden_size / mamba_head_dim
    mamba_num_groups: int | None = 2

    # Gated delta net `G`
    gdn_num_key_heads: int | None = 2
    gdn_num_value_heads: int | None = 4
    gdn_key_head_dim: int | None = 16
    gdn_value_head_dim: int | None = 16
    gdn_conv_kernel: int | None = 4  # tokens

    # Multi-latent attention `+`, and DeepSeek sparse attention `D` on top of it
    q_lora_rank: int | None = 32  # None: queries are not compressed
    kv_lora_rank: int | None = 16
    qk_nope_head_dim: int | None = 16
    qk_rope_head_dim: int | None = 8
    v_head_dim: int | None = 16
    mla_down_proj_fusion: bool = False  # one down-projection for queries and keys; Transformer Engine only
    dsa_index_heads: int | None = 4
    dsa_index_head_dim: int | None = 16
    dsa_index_topk: int | None = 8  # tokens
    dsa_index_loss_coeff: float = 0.01

    # Mixture of experts `E`
    moe_experts: int | None = 4
    moe_topk: int | None = 2  # experts a token
    moe_ffn: int | None = 64
    moe_shared_experts: int | None = None  # 0 or None: as moe_shared_ffn says
    moe_shared_ffn: int | None = None  # of all shared experts together
    moe_latent_size: int | None = None
    moe_router_bias: bool = False
    moe_aux_loss_coeff: float | None = None  # None: 0.01, or 0 with moe_router_bias, which balances by itself
    shared_expert_gate: bool = False

    # Multi-token prediction: how deep, and of what layers, the pattern says
    mtp_use_repeated_layer: bool = False  # every depth runs the same weights

    # Dropout, probabilities
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_type(field.name, str(field.type), getattr(self, field.name))
        for name in ("hidden_dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise SizesError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        if self.normalization not in NORMALIZATIONS:
            raise SizesError(f"normalization must be one of {', '.join(NORMALIZATIONS)}, not {self.normalization!r}")
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise SizesError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation!r}")
        self._check_heads()
        self._check_rotation()
        self._check_experts()

    def _check_heads(self) -> None:
        if self.head_dim is None and self.num_attention_heads and self.hidden_size % self.num_attention_heads:
            raise SizesError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}: set head_dim"
            )
        if self.mamba_num_heads is None and self.mamba_head_dim and 2 * self.hidden_size % self.mamba_head_dim:
            raise SizesError(
                f"2 × hidden_size {self.hidden_size} is not a multiple of mamba_head_dim {self.mamba_head_dim}: set mamba_num_heads"
            )
        _divides("num_query_groups", self.num_query_groups, "num_attention_heads", self.num_attention_heads)
        _divides("mamba_num_groups", self.mamba_num_groups, "mamba_num_heads", self.mamba_heads)
        _divides("gdn_num_key_heads", self.gdn_num_key_heads, "gdn_num_value_heads", self.gdn_num_value_heads)

    def _check_rotation(self) -> None:
        rotating = int((self.attention_head_dim or 0) * self.rotary_percent)
        if rotating % 2:
            raise SizesError(
                f"position_embedding {self.position_embedding!r} rotates {rotating} of head_dim {self.attention_head_dim}: it must "
                "be an even number"
            )

    def _check_experts(self) -> None:
        if self.moe_experts and self.moe_topk and self.moe_topk > self.moe_experts:
            raise SizesError(f"moe_topk {self.moe_topk} is more than moe_experts {self.moe_experts}")
        if self.moe_shared_experts and not self.moe_shared_ffn:
            raise SizesError(f"moe_shared_experts {self.moe_shared_experts} needs moe_shared_ffn, their width together")
        if self.moe_shared_experts == 0 and self.moe_shared_ffn:
            raise SizesError(f"moe_shared_ffn {self.moe_shared_ffn} contradicts moe_shared_experts 0")
        _divides("moe_shared_experts", self.moe_shared_experts, "moe_shared_ffn", self.moe_shared_ffn)
        if self.shared_expert_gate and not self.moe_shared_ffn:
            raise SizesError("shared_expert_gate needs moe_shared_ffn: there is no shared expert to gate")

    @property
    def gated(self) -> bool:
        """True when the MLP multiplies two projections (SwiGLU, GeGLU), which doubles its first weight."""
        return self.activation in GATED

    @property
    def attention_head_dim(self) -> int | None:
        """Width of an attention head: `head_dim`, or the even share of `hidden_size`."""
        if self.head_dim is not None or self.num_attention_heads is None:
            return self.head_dim
        return self.hidden_size // self.num_attention_heads

    @property
    def mamba_heads(self) -> int | None:
        """Mamba heads: `mamba_num_heads`, or an inner width of twice `hidden_size` as in Mamba-2."""
        if self.mamba_num_heads is not None or self.mamba_head_dim is None:
            return self.mamba_num_heads
        return 2 * self.hidden_size // self.mamba_head_dim

    @property
    def rotary_percent(self) -> float:
        """Share of a head that rotates, 0 to 1; 0 without rotary embeddings."""
        return self._position[1]

    @property
    def rotary_variant(self) -> str:
        """ "none", "learned", "rope", "mrope" (positions of several modalities) or "yarn" (frequencies stretched to a longer
        context)."""
        return self._position[0]

    @property
    def _position(self) -> tuple[str, float]:
        if self.position_embedding in (None, "none"):
            return "none", 0.0
        if self.position_embedding == "learned_absolute":
            return "learned", 0.0
        match = _POSITION.fullmatch(self.position_embedding)
        percent = int(match[2]) if match and match[2] else 100
        if not match or not 0 < percent <= 100:
            raise SizesError(
                f"position_embedding must be 'rope', 'rope 25%', 'learned_absolute' or 'none', not {self.position_embedding!r}"
            )
        return "yarn" if match[3] else match[1], percent / 100

    @property
    def vocabulary(self) -> int:
        """`vocab_size`; `SizesError` where it is not published."""
        if self.vocab_size is None:
            raise SizesError("a model needs a vocab_size, which the sizes leave out")
        return self.vocab_size

    @property
    def padded_vocabulary(self) -> int:
        """Rows of the embedding: `vocabulary` rounded up to a multiple of `vocab_multiple`, as Megatron-LM's
        `make_vocab_size_divisible_by` times the tensor-parallel size does."""
        return -(-self.vocabulary // self.vocab_multiple) * self.vocab_multiple

    @property
    def aux_loss_coeff(self) -> float:
        """Weight of the load-balancing loss, with its default."""
        if self.moe_aux_loss_coeff is not None:
            return self.moe_aux_loss_coeff
        return 0.0 if self.moe_router_bias else 0.01

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> ModelSizes:
        """Sizes from field names and values; a missing name keeps its default, `None` means "not there".

        `None` for a field that must be there (`hidden_size`) and an unknown name are errors.
        """
        if not isinstance(data, Mapping):
            raise SizesError(f"sizes must be an object of field names and values, not {type(data).__name__}")
        known = {field.name for field in fields(cls)}
        unknown = sorted(str(name) for name in data.keys() - known)
        if unknown:
            raise SizesError(
                f"unknown field {', '.join(map(repr, unknown))}; the fields are {', '.join(sorted(known))}"
            )
        values = dict(data)
        if isinstance(activation := values.get("activation"), str):
            values["activation"] = _REMARK.sub("", activation)
        return cls(**values)

    @classmethod
    def from_json(cls, path: str | Path) -> ModelSizes:
        """Sizes from a JSON file; `SizesError` names the file and the field, or the line that is not JSON."""
        with naming(path, SizesError):
            return cls.from_mapping(read_json(path))

    def to_json(self) -> dict[str, Any]:
        """Every field and its value; `from_mapping` gives the same sizes back."""
        return asdict(self)


def _check_type(name: str, declared: str, value: Any) -> None:
    if value is None:
        if "None" not in declared:
            raise SizesError(f"{name} must be given")
        return
    if "bool" in declared:
        if not isinstance(value, bool):
            raise SizesError(f"{name} must be true or false, not {value!r}")
    elif "str" in declared:
        if not isinstance(value, str):
            raise SizesError(f"{name} must be a text, not {value!r}")
    elif "float" in declared:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise SizesError(f"{name} must be a number of at least 0, not {value!r}")
    else:
        least = 0 if name == "moe_shared_experts" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SizesError(f"{name} must be a whole number of at least {least}, not {value!r}")
    if isinstance(value, int | float) and value > MOST:
        raise SizesError(f"{name} must be at most {MOST}")


def _divides(small_name: str, small: int | None, large_name: str, large: int | None) -> None:
    if small and large and large % small:
        raise SizesError(f"{large_name} {large} is not a multiple of {small_name} {small}")
