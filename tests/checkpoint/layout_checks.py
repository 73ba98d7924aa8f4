"""What the tests of layouts share: what a layout should say of names that an architecture predicts, and a comparison of both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from workbench.arch.architecture import Architecture, Tensor
from workbench.arch.stored import stored
from workbench.checkpoint.layout import Layout
from workbench.checkpoint.layouts import layout_of
from workbench.checkpoint.predicted import predicted
from workbench.checkpoint.source import Checkpoint
from workbench.checkpoint.tensors import StoredTensor
from workbench.pattern.model import Pattern

type Rows = list[tuple[str, tuple[int, ...], str]]


def rows(tensors: Iterable[Tensor]) -> Rows:
    """Name, shape and dtype of each."""
    return [(entry.name, entry.shape, entry.dtype) for entry in tensors]


def seen(layout: Layout) -> Rows:
    """The same of a layout's canonical view."""
    return [(name, named.tensor.shape, named.tensor.dtype) for name, named in layout.canonical.items()]


def arranged_rows(tensors: dict[str, StoredTensor]) -> Rows:
    return [(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()]


def without_stages(pattern: Pattern, sizes: Any) -> Pattern:
    """What names can say of a pattern: no `|`, and one MTP depth where all run the same weights."""
    main, _, mtp = str(pattern).replace("|", "").partition("/")
    if mtp and sizes.mtp_use_repeated_layer:
        mtp = mtp.split("/")[0]
    return Pattern(f"{main}/{mtp}" if mtp else main)


def fuses(pattern: Pattern) -> bool:
    return "[" in str(pattern)


def backend_of(architecture: Architecture, backend: str) -> str | None:
    """The backend that names can say: None where both have the same."""
    sizes = replace(architecture.sizes, moe_experts=1, moe_topk=1)  # a name of one expert is a name of all
    few = Architecture(architecture.pattern, sizes)
    names = [[entry.name for entry in few.built(each)] for each in ("te", "local")]
    return None if names[0] == names[1] else backend


def apart(architecture: Architecture) -> Architecture:
    """The same with down-projections apart, as a canonical view has them."""
    return Architecture(
        architecture.pattern, replace(architecture.sizes, mla_down_proj_fusion=False), dtype=architecture.dtype
    )


@lru_cache(maxsize=1)
def canonical_rows(architecture: Architecture) -> Rows:
    """The canonical view that every form of it has."""
    return rows(apart(architecture).canonical())


def check_built(architecture: Architecture, backend: str) -> Layout:
    """Assert everything that `layout_of` says of a built model's state dict."""
    layout = layout_of(predicted(architecture.built(backend)))
    assert layout.unknown == ()
    assert seen(layout) == canonical_rows(architecture)
    pattern = without_stages(architecture.pattern, architecture.sizes)
    assert (layout.name, layout.form) == ("fused" if fuses(pattern) else "canonical", "state_dict")
    assert layout.backend == backend_of(architecture, backend)
    assert layout.pattern == pattern
    return layout


def check_stored(architecture: Architecture) -> Layout:
    """The same of a distributed checkpoint's stored keys, which do not say how the model was fused."""
    layout = layout_of(predicted(stored(architecture), format="torch_dist"))
    assert layout.unknown == ()
    assert seen(layout) == canonical_rows(architecture)
    assert (layout.name, layout.form, layout.backend) == ("canonical", "distributed", None)
    assert layout.pattern == without_stages(architecture.pattern.unfused(), architecture.sizes)
    return layout


def renamed(tensors: Iterable[Tensor], name: Any) -> tuple[Tensor, ...]:
    """Every tensor under `name(its name)`."""
    return tuple(replace(entry, name=name(entry.name)) for entry in tensors)


def of(tensors: Iterable[Tensor], **options: Any) -> Layout:
    return layout_of(predicted(tensors, **options))


def checkpoint_of(tensors: dict[str, StoredTensor], format: str = "mapping") -> Checkpoint:
    return Checkpoint("arranged", format, tensors)
