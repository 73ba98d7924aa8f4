"""How many parameters a model has: in all, active for a token, by kind, by stage, by block. Exact whole numbers. Pure.

Conventions, which published counts do not share:

* a parameter is a trained element; the router's balancing bias is a buffer and is not counted;
* a tied output layer is the embedding and is counted once, there;
* `total` includes multi-token prediction; `main` is without it;
* `active` is what one token of the main model goes through: of the routed experts only the ones that it is sent to,
  and everything else. `active_without_embedding` leaves the embedding table out, of which a token reads one row, and
  keeps the output layer (also when it is that same table).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from workbench.arch.architecture import Architecture, Part
from workbench.cost.kinds import MTP, sums_by_kind


@dataclass(frozen=True)
class Parameters:
    """Counts of elements. `by_kind` sums to `total` and holds all of MTP under "mtp", as does `by_stage`.

    `by_block` has one entry a block of the main pattern.
    """

    total: int
    main: int
    active: int
    active_without_embedding: int
    embedding: int
    output_layer: int
    mtp: int
    routed_experts: int
    by_kind: dict[str, int]
    by_stage: tuple[int, ...]
    by_block: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Every count under its name."""
        return asdict(self)


def parameters(architecture: Architecture) -> Parameters:
    """Count an architecture's parameters."""
    by_kind = sums_by_kind(architecture.parts, lambda part: part.parameters)
    total, mtp = architecture.parameters, by_kind.get(MTP, 0)
    main = [part for part in architecture.parts if part.depth is None]
    active = sum(active_in(part, architecture) for part in main)
    embedding = by_kind["embedding"]
    tied = architecture.sizes.tied_embeddings
    return Parameters(
        total=total,
        main=total - mtp,
        active=active,
        active_without_embedding=active - embedding + (_word_table(main) if tied else 0),
        embedding=embedding,
        output_layer=by_kind["output layer"],
        mtp=mtp,
        routed_experts=sum(_experts(part) for part in main),
        by_kind=by_kind,
        by_stage=tuple(sum(part.parameters for part in stage) for stage in architecture.stages),
        by_block=tuple(sum(part.parameters for part in block) for block in architecture.blocks),
    )


def active_in(part: Part, architecture: Architecture) -> int:
    """The parameters of a part that one token goes through."""
    experts = _experts(part)
    if not experts:
        return part.parameters
    topk, of = architecture.sizes.moe_topk, architecture.sizes.moe_experts
    assert topk is not None, "an architecture with experts has a top-k"
    assert of is not None, "an architecture with experts has a number of them"
    return part.parameters - experts + experts // of * topk


def _experts(part: Part) -> int:
    return sum(row.elements for row in part.rows if row.expert)


def _word_table(parts: Iterable[Part]) -> int:
    return sum(row.elements for part in parts for row in part.rows if row.name == "embedding.word_embeddings.weight")
