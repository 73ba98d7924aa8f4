"""FLOPs a token: a forward pass, training, prefill and decoding, by part, kind and stage, as functions of the lengths. Pure.

A multiply-add is 2 FLOPs. What a term is, and in which form, is in `workbench.cost.flop_terms`; `NOT_COUNTED` says what is
left out. `tests/contracts/test_flops.py` compares the "local" execution with what
`torch.utils.flop_counter.FlopCounterMode` counts on the real models.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from workbench.arch.architecture import Architecture
from workbench.cost.flop_letters import decode_letters, flop_letters
from workbench.cost.flop_parts import PartFlops, executed_parts, priced, total
from workbench.cost.flop_terms import FORMS, Terms, terms_of
from workbench.cost.formulas import float_or_int
from workbench.cost.kinds import sums_by_kind
from workbench.cost.letters import LOCAL_CHUNKS, MODEL_CHUNKS
from workbench.errors import WorkbenchError, check_choice, check_whole
from workbench.pattern.symbols import SYMBOLS

SCANS = ("chunked", "recurrent")
EXECUTED = ("model", "local")
RECOMPUTE = ("none", "full")

_KEPT = ("embedding", "final norm", "output layer")  # what full recomputation does not run again

NOT_COUNTED = (
    "norms, activations, softmax, rotary embeddings, gates, residual additions, decay factors of the recurrences, dropout, "
    "losses (but the indexer's attention scores), the look-up of an embedding (no arithmetic), routing and permutation of "
    "experts, the optimizer, communication"
)


@dataclass(frozen=True)
class Flops:
    """FLOPs a token, of `sequence_length` tokens, under the conventions that it carries. See `flops`."""

    architecture: Architecture = field(repr=False)
    sequence_length: int
    causal: bool
    scan: str
    executed: str
    recompute: str
    parts: tuple[PartFlops, ...] = field(repr=False)

    @property
    def forward_per_token(self) -> float:
        """A forward pass of training: every MTP depth is in it, and what losses need of products."""
        return total(part.forward for part in self.parts)

    @property
    def backward_per_token(self) -> float:
        """The backward pass without recomputation: two products for each of the forward pass.

        Exceptions: the indexer of sparse attention learns on detached inputs and has one product back; nothing asks for the
        gradient of token ids, so the embedding has none; with `executed="local"` see `workbench.cost.flop_terms`.
        """
        return total(part.backward for part in self.parts)

    @property
    def recomputed_per_token(self) -> float:
        """What the backward pass computes again: with `recompute="full"` the forward pass of all layers.

        The output layer is not computed again; an MTP depth's projection is, and the depth's layers even twice, because
        the depth recomputes them and they recompute themselves (multi_token_prediction.py:1499, hybrid_block.py:348).
        The loss of the indexer is left out of the first pass, which has no gradient.
        """
        if self.recompute == "none":
            return 0
        return total(part.prefill * _times_again(part) for part in self.parts)

    @property
    def training_per_token(self) -> float:
        """Forward, backward and recomputation: 3 × forward but for the exceptions of `backward_per_token`; 4 × with full
        recomputation, but for the output layer."""
        return total((self.forward_per_token, self.backward_per_token, self.recomputed_per_token))

    @property
    def prefill_per_token(self) -> float:
        """A forward pass of inference over the whole sequence, without MTP.

        It has the logits of every token; an engine that asks for the last token's alone saves nearly all of the output layer.
        """
        return total(part.prefill for part in self.parts if part.depth is None)

    def decode(self, context_length: int, *, latent_cache: bool = True) -> tuple[PartFlops, ...]:
        """What one generated token costs, part by part, without MTP; it reads `context_length` tokens, itself among them.

        Attention grows linearly with the context (sparse attention only in its indexer once all kept keys are there).
        Recurrences take one step whatever the context. Latent attention is in absorbed form, on cached latents
        (upstream's dynamic engine with `cache_mla_latents`), or with `latent_cache=False` on cached keys and values of every
        head (its static engine); sparse attention, which upstream cannot generate with, always in absorbed form.
        """
        check_whole("context_length", context_length, unit="token")
        letters = decode_letters(self.architecture.sizes, context_length=context_length)
        letters_by_symbol = dict.fromkeys(SYMBOLS, letters)
        parts = (part for part in executed_parts(self.architecture) if part.depth is None)
        return priced(
            parts,
            "decode" if latent_cache else "decode, keys and values",
            letters_by_symbol,
            letters,
            without_training=True,
        )

    def decode_per_token(self, context_length: int, *, latent_cache: bool = True) -> float:
        """The sum of `decode`."""
        return total(part.forward for part in self.decode(context_length, latent_cache=latent_cache))

    @cached_property
    def by_kind(self) -> dict[str, float]:
        """Forward FLOPs a token by layer kind; everything of MTP is under "mtp"."""
        return {
            kind: float_or_int(number) for kind, number in sums_by_kind(self.parts, lambda part: part.forward).items()
        }

    @cached_property
    def by_stage(self) -> tuple[float, ...]:
        """Forward FLOPs a token by pipeline stage; output layer and MTP are on the last."""
        found = self._grouped(lambda part: part.stage)
        return tuple(found.get(stage, 0) for stage in range(len(self.architecture.stages)))

    @cached_property
    def by_block(self) -> tuple[float, ...]:
        """Forward FLOPs a token of every block of the main pattern."""
        found = self._grouped(lambda part: part.block if part.depth is None else None)
        return tuple(found[block.index] for block in self.architecture.pattern.blocks)

    def _grouped(self, key: Any) -> dict[Any, float]:
        found: dict[Any, float] = {}
        for part in self.parts:
            found[key(part)] = total((found.get(key(part), 0), part.forward))
        return found

    def to_json(self) -> dict[str, Any]:
        """The sums, the conventions, and every part with its terms."""
        return {
            "sequence_length": self.sequence_length,
            "causal": self.causal,
            "scan": self.scan,
            "executed": self.executed,
            "recompute": self.recompute,
            "not_counted": NOT_COUNTED,
            "forward_per_token": self.forward_per_token,
            "training_per_token": self.training_per_token,
            "prefill_per_token": self.prefill_per_token,
            "by_kind": self.by_kind,
            "by_stage": list(self.by_stage),
            "by_block": list(self.by_block),
            "parts": [part.to_json() for part in self.parts],
        }


def flops(
    architecture: Architecture,
    *,
    sequence_length: int,
    causal: bool | None = None,
    scan: str = "chunked",
    mamba_chunk: int | None = None,
    delta_chunk: int | None = None,
    executed: str = "model",
    recompute: str = "none",
) -> Flops:
    """Count the FLOPs a token of an architecture at a sequence length in tokens.

    `executed="model"` is what a model asks for. Attention is causal unless `causal=False`: a query reads (s + 1) / 2 keys on
    average, not s. `scan` counts recurrences "chunked", as GPU kernels compute them in chunks of `mamba_chunk` (128) and
    `delta_chunk` (64) tokens, or "recurrent", token by token.
    `executed="local"` is what megatron's local modules do with this project's CPU kernels: the full square of attention,
    sparse or not, and chunks of 64 (Mamba) and 32 tokens, the last one of Mamba as short as it comes.
    `recompute` is "none" or "full": every layer's forward pass once more.

    Raises `WorkbenchError` that names the argument.
    """
    check_whole("sequence_length", sequence_length, unit="token")
    check_choice("scan", scan, SCANS)
    check_choice("executed", executed, EXECUTED)
    check_choice("recompute", recompute, RECOMPUTE)
    local = executed == "local"
    if local and (causal or scan != "chunked"):
        wrong = "causal=True" if causal else f"scan={scan!r}"
        raise WorkbenchError(f"executed='local' computes full squares and scans in chunks: leave out {wrong}")
    causal = not local if causal is None else causal
    chunks = dict(LOCAL_CHUNKS if local else MODEL_CHUNKS)
    for symbol, name, chunk in (("M", "mamba_chunk", mamba_chunk), ("G", "delta_chunk", delta_chunk)):
        if chunk is not None:
            check_whole(name, chunk, unit="token")
            chunks[symbol] = chunk
    form = "local" if local else scan
    letters_by_symbol = {
        symbol: flop_letters(
            architecture.sizes, sequence_length=sequence_length, causal=causal, chunk=chunks.get(symbol, 1)
        )
        for symbol in SYMBOLS
    }
    parts = priced(executed_parts(architecture), form, letters_by_symbol, letters_by_symbol["-"])
    return Flops(architecture, sequence_length, causal, scan, executed, recompute, parts)


@dataclass(frozen=True)
class FlopsAtLength:
    """FLOPs a token at one length in tokens: of a sequence for the first three, of the context for the last."""

    length: int
    forward: float
    training: float
    prefill: float
    decode: float


def flops_at_lengths(architecture: Architecture, lengths: Iterable[int], **options: Any) -> tuple[FlopsAtLength, ...]:
    """FLOPs a token as a function of the length; `options` are those of `flops`."""
    found = []
    for length in lengths:
        counted = flops(architecture, sequence_length=length, **options)
        found.append(
            FlopsAtLength(
                length,
                counted.forward_per_token,
                counted.training_per_token,
                counted.prefill_per_token,
                counted.decode_per_token(length),
            )
        )
    return tuple(found)


def flop_terms(symbol: str, form: str = "chunked") -> Terms:
    """The formulas of a layer of kind `symbol` in one of `workbench.cost.flop_terms.FORMS`; unknown names raise."""
    check_choice("symbol", symbol, SYMBOLS)
    check_choice("form", form, FORMS)
    return terms_of(symbol, form)


# ------------------------------------------------------------------------------------------------------


def _times_again(part: PartFlops) -> int:
    """How often full recomputation runs a part again."""
    if part.kind in _KEPT:
        return 0
    return 2 if part.depth is not None and part.block is not None else 1
