"""What generating keeps for one sequence between tokens: keys and values, Mamba and delta-net state, in bytes. Pure.

Attention's grows with the context, a recurrence's does not, MLPs and experts keep nothing. MTP keeps nothing either: it does not
run when a model generates token by token. Engines take memory ahead of what is counted here: the static one for its
longest sequence (megatron/core/transformer/attention.py:601), the dynamic one in whole blocks of tokens.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from workbench.arch.architecture import DTYPES, ELEMENT_BYTES, Architecture
from workbench.cost.formulas import Formula
from workbench.cost.letters import letters_of
from workbench.errors import check_choice, check_whole

_MIXER = "megatron/core/ssm/mamba_mixer.py"
_CONTEXT = "megatron/core/inference/contexts/dynamic_context.py"
_MLA = "megatron/core/transformer/multi_latent_attention.py"

_MAMBA = (
    # All the kernel's tokens are kept, the newest among them, in the dtype of the weights.
    Formula("convolution: its last tokens", "w * (mh * md + 2 * mg * n) * mc", f"{_MIXER}:1295"),
    Formula("scan: its state", "ws * mh * md * n", f"{_MIXER}:1296, inference/config.py:64"),
)
# Upstream's gated delta net does not generate yet (ssm/gated_delta_net/gdn.py:93): this is what its kernels ask for.
_DELTA_NET = (
    Formula("convolution: its last tokens", "w * (2 * gk * dk + gv * dv) * gc", "as Mamba's; FLA keeps the same"),
    Formula(
        "delta rule: its state, in fp32", "4 * gv * dk * dv", "workbench/kernels/delta.py; FLA's states are fp32 too"
    ),
)
_ATTENTION = (Formula("keys and values", "w * 2 * g * d * s", "megatron/core/transformer/attention.py:521"),)
_LATENTS = Formula("compressed keys and values, and the rotated key", "w * (kr + rope) * s", f"{_CONTEXT}:410")
_HEADS = Formula("keys and values of every head", "w * a * (nope + rope + vd) * s", f"{_MLA}:168")
# Upstream's sparse attention does not generate yet (experimental_attention_variant/absorbed_mla.py:820).
_INDEXER = Formula("keys of the indexer", "w * id * s", "DeepSeek-V3.2-Exp, inference/model.py")


@dataclass(frozen=True)
class StateTerm:
    """One tensor of a layer's state: what it is, its formula as people write it, its source, and its bytes a sequence.

    `letters` are the formula's, with the values that were put in.
    """

    name: str
    formula: str
    source: str
    bytes: int
    letters: dict[str, float] = field(repr=False, hash=False)


@dataclass(frozen=True)
class LayerState:
    """The state of the sub-layer with this canonical index; `kind` and `stage` are those of `workbench.arch`."""

    index: int
    kind: str
    stage: int
    terms: tuple[StateTerm, ...]

    @property
    def bytes(self) -> int:
        """Bytes a sequence."""
        return sum(term.bytes for term in self.terms)

    def to_json(self) -> dict[str, Any]:
        """Everything but the values of letters, which are those of the whole model (`workbench.cost.legend`)."""
        data = asdict(self) | {"bytes": self.bytes}
        for term in data["terms"]:
            del term["letters"]
        return data


@dataclass(frozen=True)
class InferenceState:
    """Bytes that one sequence keeps with a context of `context_length` tokens. `layers` has every sub-layer, in order."""

    context_length: int
    latent_cache: bool
    layers: tuple[LayerState, ...] = field(repr=False)

    @property
    def total_bytes(self) -> int:
        """Of all layers, on all pipeline stages and tensor-parallel ranks together."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def by_kind_rows(self) -> tuple[tuple[str, int, int, str], ...]:
        """(kind, number of layers, bytes of each, what it is), one for each tensor of a kind, in order of appearance."""
        layers_of: dict[str, list[LayerState]] = {}
        for layer in self.layers:
            layers_of.setdefault(layer.kind, []).append(layer)
        return tuple(
            (kind, len(layers), term.bytes, term.name) for kind, layers in layers_of.items() for term in layers[0].terms
        )

    def to_json(self) -> dict[str, Any]:
        """The sum, the rows of `by_kind_rows` by name, and every layer."""
        names = ("kind", "layers", "bytes_each", "what")
        return {
            "context_length": self.context_length,
            "latent_cache": self.latent_cache,
            "total_bytes": self.total_bytes,
            "by_kind": [dict(zip(names, row, strict=True)) for row in self.by_kind_rows],
            "layers": [layer.to_json() for layer in self.layers],
        }


def inference_state(
    architecture: Architecture,
    *,
    context_length: int,
    latent_cache: bool = True,
    ssm_dtype: str | None = None,
) -> InferenceState:
    """The state of one sequence after `context_length` tokens (0: before the first), in the dtype of the architecture.

    With `latent_cache` multi-latent attention keeps the compressed keys and values, as upstream's dynamic engine does under
    `cache_mla_latents` (transformer_config.py:2954); without it keys and values of every head, as its static engine does.
    `ssm_dtype` is that of Mamba's scan states, "bf16" or "fp32" (`MambaInferenceStateConfig.ssm_states_dtype`).

    Raises `WorkbenchError` that names the argument.
    """
    check_whole("context_length", context_length, least=0, unit="tokens")
    if ssm_dtype is not None:
        check_choice("ssm_dtype", ssm_dtype, DTYPES)
    letters = letters_of(architecture.sizes) | {
        "s": context_length,
        "w": ELEMENT_BYTES[architecture.dtype],
        "ws": ELEMENT_BYTES[ssm_dtype or architecture.dtype],
    }
    known: dict[str, tuple[StateTerm, ...]] = {}  # layers of a kind are alike
    layers = []
    for part in architecture.sublayers:
        assert part.layer is not None, "sub-layers are layers"
        symbol = part.layer.symbol
        if symbol not in known:
            known[symbol] = tuple(
                StateTerm(
                    formula.name, formula.shown, formula.source, int(formula.value(letters)), formula.given(letters)
                )
                for formula in state_formulas(symbol, latent_cache=latent_cache)
            )
        layers.append(LayerState(part.layer.index, part.kind, part.stage, known[symbol]))
    return InferenceState(context_length, latent_cache, tuple(layers))


def state_formulas(symbol: str, *, latent_cache: bool = True) -> tuple[Formula, ...]:
    """The formulas, in bytes a sequence, of a layer of kind `symbol`; none for an MLP or experts."""
    if symbol == "+":
        return (_LATENTS if latent_cache else _HEADS,)
    return {"M": _MAMBA, "G": _DELTA_NET, "*": _ATTENTION, "D": (_LATENTS, _INDEXER)}.get(symbol, ())
