"""The sizes of a model: every number that a pattern leaves open. Pure: standard library and `workbench.errors` only.

Field names are those of published architectures as collected in presets (`hidden_size`, `moe_topk`, ...). `None` means
"not there": no experts, no q compression, as many query groups as heads. The defaults are a tiny model that has every
layer kind and runs in milliseconds on a CPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

ACTIVATIONS = ("swiglu", "geglu", "gelu", "squared_relu", "silu", "relu")
NORMALIZATIONS = ("RMSNorm", "LayerNorm")
_GATED = {"swiglu", "geglu"}


class SizesError(WorkbenchError):
    """A size that cannot be; the text names the field."""


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Sizes in elements unless a name says otherwise; see the groups below.

    Raises `SizesError` (a `ValueError`) when a value is of the wrong type or range or two contradict each other.
    """

    # The residual stream and the vocabulary
    hidden_size: int = 64
    vocab_size: int = 128
    max_sequence_length: int = 64  # tokens
    tied_embeddings: bool = False
    position_embedding: str | None = "rope"  # "rope", "rope 25%", "none"
    rotary_base: int = 10000
    normalization: str = "RMSNorm"
    norm_epsilon: float = 1e-5
    linear_bias: bool = False
    initializer_std: float = 0.02

    # Self-attention `*`
    num_attention_heads: int | None = 4
    num_query_groups: int | None = 2  # None: as many as heads
    head_dim: int | None = None  # None: hidden_size / num_attention_heads
    qk_layernorm: bool = False
    qkv_bias: bool = False
    attention_output_gate: bool = False

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
    dsa_index_heads: int | None = 4
    dsa_index_head_dim: int | None = 16
    dsa_index_topk: int | None = 8  # tokens
    dsa_index_loss_coeff: float = 0.01

    # Mixture of experts `E`
    moe_experts: int | None = 4
    moe_topk: int | None = 2  # experts a token
    moe_ffn: int | None = 64
    moe_shared_experts: int | None = None
    moe_shared_ffn: int | None = None  # of all shared experts together
    moe_latent_size: int | None = None
    moe_router_bias: bool = False
    moe_aux_loss_coeff: float = 0.01
    shared_expert_gate: bool = False

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
        self.rotary_percent  # noqa: B018  (a position embedding that cannot be read is an error here, not later)
        self._check_heads()

    def _check_heads(self) -> None:
        _divides("num_query_groups", self.num_query_groups, "num_attention_heads", self.num_attention_heads)
        _divides("mamba_num_groups", self.mamba_num_groups, "mamba_num_heads", self.mamba_heads)
        _divides("gdn_num_key_heads", self.gdn_num_key_heads, "gdn_num_value_heads", self.gdn_num_value_heads)
        if self.head_dim is None and self.num_attention_heads and self.hidden_size % self.num_attention_heads:
            raise SizesError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}: set head_dim"
            )
        if self.mamba_num_heads is None and self.mamba_head_dim and 2 * self.hidden_size % self.mamba_head_dim:
            raise SizesError(
                f"2 × hidden_size {self.hidden_size} is not a multiple of mamba_head_dim {self.mamba_head_dim}: set mamba_num_heads"
            )
        if self.moe_experts and self.moe_topk and self.moe_topk > self.moe_experts:
            raise SizesError(f"moe_topk {self.moe_topk} is more than moe_experts {self.moe_experts}")
        if self.position_embedding and self.attention_head_dim and self.attention_head_dim % 2:
            raise SizesError(f"head_dim {self.attention_head_dim} must be even for rotary position embeddings")

    @property
    def gated(self) -> bool:
        """True when the MLP multiplies two projections (SwiGLU, GeGLU), which doubles its first weight."""
        return self.activation in _GATED

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
        if self.position_embedding in (None, "none"):
            return 0.0
        match = re.fullmatch(r"rope(?: (\d{1,3})%)?", self.position_embedding)
        percent = int(match[1]) if match and match[1] else 100
        if not match or not 0 < percent <= 100:
            raise SizesError(
                f"position_embedding must be 'rope', 'rope 25%' or 'none', not {self.position_embedding!r}"
            )
        return percent / 100

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
        return cls(**data)

    @classmethod
    def from_json(cls, path: str | Path) -> ModelSizes:
        """Sizes from a JSON file; `SizesError` names the file and the field, or the line that is not JSON."""
        path = Path(path)
        try:
            return cls.from_mapping(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise SizesError(f"{path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise SizesError(f"{path}: not UTF-8 text") from error
        except json.JSONDecodeError as error:
            raise SizesError(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}") from error
        except SizesError as error:
            raise SizesError(f"{path}: {error}") from error

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
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise SizesError(f"{name} must be a number of at least 0, not {value!r}")
    elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SizesError(f"{name} must be a whole number of at least 1, not {value!r}")


def _divides(small_name: str, small: int | None, large_name: str, large: int | None) -> None:
    if small and large and large % small:
        raise SizesError(f"{large_name} {large} is not a multiple of {small_name} {small}")
