"""`Layout`: what a checkpoint's names mean, and the same checkpoint under canonical names. numpy only.

The canonical form is a state dict of the unfused model with Transformer Engine's names, experts one by one, projections whole
(design §4). `layouts` finds out which layout a checkpoint has; `diff`, `infer` and `convert` work on the canonical form only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from workbench.checkpoint.tensors import StoredTensor
from workbench.pattern.model import Pattern

# "canonical": one layer a sub-layer. "fused": one layer a block of a built fused model. "gpt": one layer an attention and its
# MLP, `final_layernorm`. "grouped": one layer a bracket group of upstream's newer dialect. "hugging_face": a transformers
# model's own names. "other": names that no rule here knows.
LayoutName = Literal["canonical", "fused", "gpt", "grouped", "hugging_face", "other"]
# "state_dict": a module's names. "distributed": torch_dist's stored keys (projections in pieces, experts along an axis; gpt:
# layers along an axis too).
Form = Literal["state_dict", "distributed"]
Backend = Literal["te", "local"]


@dataclass(frozen=True)
class Named:
    """A canonical tensor and the names it is written under: one, or those of the pieces that make it up."""

    tensor: StoredTensor
    written: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """What was found out from names and shapes alone.

    `pattern` is the one whose model has these names, brackets included for "fused" and "grouped"; None where the
    names are not of a hybrid or GPT model. `backend` is None where the names are the same for both. `canonical` holds every
    tensor by its canonical name; names that no rule knows keep theirs, and are listed in `unknown`. Optimizer
    states keep their prefix ("optimizer.state.exp_avg.decoder.layers.0.…"). `reasons` say in sentences what the decision
    rests on, or what does not fit.
    """

    name: LayoutName
    form: Form
    backend: Backend | None
    pattern: Pattern | None
    canonical: Mapping[str, Named]
    unknown: tuple[str, ...] = ()
    reasons: tuple[str, ...] = field(default=())
