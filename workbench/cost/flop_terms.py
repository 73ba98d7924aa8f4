"""What one token costs in a layer of each kind, term by term: a formula in FLOPs, and where it comes from. Pure.

A multiply-add is 2 FLOPs. Only products are counted: of matrices, the short convolutions, the triangular systems of the delta
rule, and the recurrences themselves where they are asked for. Norms, activations, softmax, rotary embeddings, gates,
residual additions, decay factors and dropout are not (`workbench.cost.flops.NOT_COUNTED`).

Forms of a layer (`FORMS`):

* "chunked": training and prefill with the kernels that upstream runs on GPUs; squares inside a chunk are counted whole,
  as those kernels compute them;
* "recurrent": the same with the recurrences token by token, which is the least that their definition asks for;
* "local": what megatron's local modules execute with this project's CPU kernels, padding and edges included;
* "decode": one generated token. Recurrences take one step; latent attention is in absorbed form, on the latent cache;
* "decode, keys and values": the same on a cache of every head's keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.cost.formulas import Formula

FORMS = ("chunked", "recurrent", "local", "decode", "decode, keys and values")


@dataclass(frozen=True)
class Term:
    """One term of a layer; both formulas give FLOPs a token.

    The backward pass of a product of two matrices costs two such products: the gradient of either factor.
    `training_only` terms serve a loss and are not part of inference.
    """

    forward: Formula
    backward: Formula
    training_only: bool = False

    @property
    def name(self) -> str:
        """What is computed."""
        return self.forward.name

    @property
    def source(self) -> str:
        """Paper, or upstream file and line."""
        return self.forward.source


Terms = tuple[Term, ...]


def term(name: str, text: str, source: str, times: str = "2", *, training_only: bool = False) -> Term:
    """A term whose backward pass costs `times` its forward pass."""
    return Term(Formula(name, text, source), Formula(name, f"{times} * ({text})", source), training_only)


def only_backward(name: str, text: str, source: str) -> Term:
    """A term that only the backward pass has."""
    return Term(Formula(name, "0", source), Formula(name, text, source))


# ------------------------------------------------------------------------------------------ Mamba-2

_MIXER = "megatron/core/ssm/mamba_mixer.py"
_SSD_PAPER = "Dao and Gu, arXiv 2405.21060, section 6"

# Heads × head width, never twice the hidden size: Megatron-LM's own throughput report (megatron/training/training.py,
# `mamba_layer_flops`) takes d_in = 2·hidden, and 7·d_in·n for the scan.
_MAMBA_IN: Terms = (
    term("input projection: z, x, B, C, dt", "2 * h * (2 * mh * md + 2 * mg * n + mh)", f"{_MIXER}:498"),
    term("convolution of x, B, C", "2 * mc * (mh * md + 2 * mg * n)", f"{_MIXER}:755"),
)
_MAMBA_OUT: Terms = (term("output projection", "2 * h * mh * md", f"{_MIXER}:513"),)

_MAMBA_CHUNKED: Terms = (
    term("scan: C·Bᵀ inside a chunk, a group", "2 * mg * n * c", _SSD_PAPER),
    term("scan: scores on x, a head", "2 * mh * md * c", _SSD_PAPER),
    term("scan: what a chunk adds to the state", "2 * mh * md * n", _SSD_PAPER),
    term("scan: what the state adds to the output", "2 * mh * md * n", _SSD_PAPER),
)
# Every element of the state: decay 1, write 2 (times B, add), read 2. Products of vectors alone are left out.
_MAMBA_RECURRENT: Terms = (
    term("scan: decay, write and read every element of the state", "5 * mh * md * n", "arXiv 2405.21060, equation 1"),
)
_SSD = "workbench/kernels/ssd_scan.py"
# The last chunk is as short as it comes. Backward keeps no scores and no outputs of states: it computes them again. A single
# chunk starts from no state and hands none on.
_PAIRS = "((t - 1) * c * c + (s - c * (t - 1)) * (s - c * (t - 1))) / s"
_MAMBA_LOCAL: Terms = (
    term("scan: C·Bᵀ inside a chunk, a group", f"2 * mg * n * {_PAIRS}", _SSD, "3"),
    term("scan: scores on x, a head", f"2 * mh * md * {_PAIRS}", _SSD),
    only_backward("scan: sums of the decays' gradients", f"(1 + later) * 2 * mh * {_PAIRS}", _SSD),
    term("scan: what a chunk adds to the state", "2 * mh * md * n * c * (t - 1) / s", _SSD, "0"),
    only_backward("scan: gradients of what a chunk adds", "later * 4 * mh * md * n", _SSD),
    term("scan: what the state adds to the output", "later * 2 * mh * md * n", _SSD),
    only_backward("scan: gradient of the state", "2 * mh * md * n * (s - c) / s", _SSD),
)

# ---------------------------------------------------------------------------------- gated delta net

_GDN = "megatron/core/ssm/gated_delta_net/gdn.py"
_DELTA_PAPER = "Yang, Kautz and Hatamizadeh, arXiv 2412.06464, section 3.3"
TRIANGLE = "delta rule: triangular system"

_GDN_IN: Terms = (
    term("input projection: q, k, v, gate, beta, alpha", "2 * h * (2 * gk * dk + 2 * gv * dv + 2 * gv)", f"{_GDN}:131"),
    term("convolution of q, k, v", "2 * gc * (2 * gk * dk + gv * dv)", f"{_GDN}:214"),
)
_GDN_OUT: Terms = (term("output projection", "2 * h * gv * dv", f"{_GDN}:272"),)

# Keys and queries are repeated to the value heads before the kernel (gated_delta_net/common.py:420).
_GDN_CHUNKED: Terms = (
    term("delta rule: keys on keys inside a chunk", "2 * gv * dk * c", _DELTA_PAPER),
    # Forward substitution; kernels that invert the triangle and multiply do more.
    term(TRIANGLE, "gv * (c - 1) * (dk + dv)", _DELTA_PAPER),
    term("delta rule: queries on keys inside a chunk", "2 * gv * dk * c", _DELTA_PAPER),
    term("delta rule: keys read the state", "2 * gv * dk * dv", _DELTA_PAPER),
    term("delta rule: queries read the state", "2 * gv * dk * dv", _DELTA_PAPER),
    term("delta rule: scores on new values", "2 * gv * dv * c", _DELTA_PAPER),
    term("delta rule: what a chunk adds to the state", "2 * gv * dk * dv", _DELTA_PAPER),
)
_GDN_RECURRENT: Terms = (
    # Every element of the state: decay 1, read by the key 2, write 2, read by the query 2.
    term(
        "delta rule: decay, read, write and read every element of the state",
        "7 * gv * dk * dv",
        "arXiv 2412.06464, equation 10",
    ),
)
_DELTA = "workbench/kernels/delta.py"
# The last chunk is padded. A product has two in the backward pass, which computes none of the forward pass again.
_GDN_LOCAL: Terms = (
    term("delta rule: keys on keys inside a chunk", "2 * gv * dk * c * t * c / s", _DELTA),
    term(TRIANGLE, "gv * (c - 1) * c * t * c / s", _DELTA, "0"),
    term("delta rule: inverse of the triangle on what is to be written", "2 * gv * c * dv * t * c / s", _DELTA),
    term("delta rule: queries on keys inside a chunk", "2 * gv * dk * c * t * c / s", _DELTA),
    term("delta rule: keys read the state", "2 * gv * dk * dv * t * c / s", _DELTA),
    term("delta rule: queries read the state", "2 * gv * dk * dv * t * c / s", _DELTA),
    term("delta rule: scores on new values", "2 * gv * dv * c * t * c / s", _DELTA),
    term("delta rule: what a chunk adds to the state", "2 * gv * dk * dv * t * c / s", _DELTA),
)

# ---------------------------------------------------------------------------------------- attention

_ATTENTION = "megatron/core/transformer/attention.py"
_CORE = "megatron/core/transformer/dot_product_attention.py"

_SELF_ATTENTION: Terms = (
    term("queries, keys and values, and the output gate", "2 * h * (a * (1 + gate) + 2 * g) * d", f"{_ATTENTION}:1830"),
    term("scores: queries on keys", "2 * a * d * keys", f"{_CORE}:194"),
    term("context: scores on values", "2 * a * d * keys", f"{_CORE}:239"),
    term("output projection", "2 * h * a * d", f"{_ATTENTION}:1617"),
)

_MLA = "megatron/core/transformer/multi_latent_attention.py"
_ABSORBED = "megatron/core/transformer/experimental_attention_variant/absorbed_mla.py"
_DSA = "megatron/core/transformer/experimental_attention_variant/dsa.py"

_LATENT_IN: Terms = (
    term("down-projection of queries", "2 * h * qr", f"{_MLA}:644"),
    term("down-projection of keys and values", "2 * h * (kr + rope)", f"{_MLA}:662"),
    term("queries", "2 * (qc * qr + (1 - qc) * h) * a * (nope + rope)", f"{_MLA}:856"),
)
_LATENT_OUT: Terms = (term("output projection", "2 * h * a * vd", f"{_MLA}:464"),)
_LATENT: Terms = (
    *_LATENT_IN,
    term("keys and values of every head", "2 * kr * a * (nope + vd)", f"{_MLA}:866"),
    term("scores: queries on keys", "2 * a * (nope + rope) * keys", f"{_CORE}:194"),
    term("context: scores on values", "2 * a * vd * keys", f"{_CORE}:239"),
    *_LATENT_OUT,
)


def _absorbed(keys: str, scores: str) -> Terms:
    """Attention on the compressed keys themselves: the up-projection of keys meets the queries, that of values the output."""
    return (
        term("queries on the keys' up-projection", "2 * a * nope * kr", f"{_ABSORBED}:624"),
        term("scores: queries on compressed keys", f"2 * a * (kr + rope) * {keys}", scores),
        term("context: scores on compressed values", f"2 * a * kr * {keys}", scores),
        term("values' up-projection of the context", "2 * a * kr * vd", f"{_DSA}:173"),
    )


def _indexer(scores_backward: str, target_backward: str) -> Terms:
    """The indexer learns from its own loss, on inputs that are detached (dsa.py:1887): one product back a linear, not two."""
    return (
        term("indexer: queries", "2 * qr * ih * id", f"{_DSA}:1286", "il"),
        term("indexer: keys", "2 * h * id", f"{_DSA}:1296", "il"),
        term("indexer: weights of its heads", "2 * h * ih", f"{_DSA}:1319", "il"),
        term("indexer: scores of the keys", "2 * ih * id * keys", f"{_DSA}:542", scores_backward),
        term(
            "indexer loss: attention scores of the keys", "il * 2 * a * (kr + rope) * keys", f"{_DSA}:451",
            target_backward, training_only=True,
        ),
    )  # fmt: skip


# Training and prefill run the absorbed form too, with the indexer's loss against the attention of all keys.
_SPARSE: Terms = (*_LATENT_IN, *_indexer("2 * il", "0"), *_absorbed("kept", f"{_DSA}:90"), *_LATENT_OUT)
# Its backward computes the scores twice more, and the loss's target once more (dsa.py:664-870).
_SPARSE_LOCAL: Terms = (*_LATENT_IN, *_indexer("4 * il", "1"), *_absorbed("keys", f"{_DSA}:90"), *_LATENT_OUT)

# ----------------------------------------------------------------------------------- channel mixers

_MLP = "megatron/core/transformer/mlp.py"
_MOE = "megatron/core/transformer/moe"

_DENSE: Terms = (
    term("first linear", "2 * h * f * p", f"{_MLP}:264"),
    term("second linear", "2 * h * f", f"{_MLP}:346"),
)
_EXPERTS: Terms = (
    term("router", "2 * h * e", f"{_MOE}/router.py:108"),
    term("latent projections, down and up", "latent * 4 * h * l", f"{_MOE}/moe_layer.py:483"),
    term("the experts of a token, first linear", "2 * k * l * ef * p", f"{_MOE}/experts.py:1260"),
    term("the experts of a token, second linear", "2 * k * l * ef", f"{_MOE}/experts.py:1260"),
    term("shared experts, first linear", "2 * h * sf * p", f"{_MOE}/shared_experts.py"),
    term("shared experts, second linear", "2 * h * sf", f"{_MOE}/shared_experts.py"),
    term("gate of the shared experts", "2 * h * sg", f"{_MOE}/shared_experts.py:199"),
)

# ------------------------------------------------------------------------------------------------------

_BY_FORM: dict[str, dict[str, Terms]] = {
    "M": {
        "chunked": (*_MAMBA_IN, *_MAMBA_CHUNKED, *_MAMBA_OUT),
        "recurrent": (*_MAMBA_IN, *_MAMBA_RECURRENT, *_MAMBA_OUT),
        "local": (*_MAMBA_IN, *_MAMBA_LOCAL, *_MAMBA_OUT),
        "decode": (*_MAMBA_IN, *_MAMBA_RECURRENT, *_MAMBA_OUT),
    },
    "G": {
        "chunked": (*_GDN_IN, *_GDN_CHUNKED, *_GDN_OUT),
        "recurrent": (*_GDN_IN, *_GDN_RECURRENT, *_GDN_OUT),
        "local": (*_GDN_IN, *_GDN_LOCAL, *_GDN_OUT),
        "decode": (*_GDN_IN, *_GDN_RECURRENT, *_GDN_OUT),
    },
    "*": dict.fromkeys(FORMS, _SELF_ATTENTION),
    "+": dict.fromkeys(FORMS, _LATENT) | {"decode": (*_LATENT_IN, *_absorbed("keys", f"{_MLA}:434"), *_LATENT_OUT)},
    "D": dict.fromkeys(FORMS, _SPARSE) | {"local": _SPARSE_LOCAL},
    "-": dict.fromkeys(FORMS, _DENSE),
    "E": dict.fromkeys(FORMS, _EXPERTS),
}

OUTPUT_LAYER: Terms = (term("logits", "2 * h * v", "megatron/core/models/hybrid/hybrid_model.py:613"),)
MTP_PROJECTION: Terms = (
    term(
        "projection of hidden state and embedding",
        "2 * h * 2 * h",
        "megatron/core/transformer/multi_token_prediction.py:1139",
    ),
)


def terms_of(symbol: str, form: str) -> Terms:
    """The terms of a stand-alone layer of kind `symbol`; a fused pair has those of its two symbols."""
    if form == "decode, keys and values":
        # A step makes keys and values of its own token only, as each token of a sequence does.
        form = "recurrent"
    return _BY_FORM[symbol][form]
