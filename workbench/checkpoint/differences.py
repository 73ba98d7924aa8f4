"""What a diff found, as frozen data: the views show it, the command line prints it, JSON keeps it. Pure: no numpy, no torch.

`workbench.checkpoint.diff` makes these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from workbench.checkpoint.plain import plain

SCHEMA = "workbench.diff/1"

# "missing": only on the left. "extra": only on the right. "renamed": the same bits under another name. "shape", "dtype" and
# "value": the same name (or the one that layout rules pair it with), other content. "object": something that is no tensor.
Kind = Literal["missing", "extra", "renamed", "shape", "dtype", "value", "object"]
# How the two names of a pair were found to belong together.
PairedBy = Literal["name", "layout", "content"]


@dataclass(frozen=True)
class Metrics:
    """How far two tensors of one shape are apart. Distances are over entries that are finite on both sides.

    `mismatched` counts entries whose bits differ (or that are out of tolerance, where one was given); `max_rel` is
    |a - b| / max(|a|, |b|); `max_ulp` counts representable numbers between the two (None for integers, or where the dtypes
    differ); `cosine` is between the two as vectors, None where one is all zeros. `nan` and `inf` are counts
    (left only, right only, both at the same place); `first` is the index of the first mismatch, `left` and `right` its values.
    """

    mismatched: int
    elements: int
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    cosine: float | None = None
    first: tuple[int, ...] | None = None
    left: float | int | bool | str | None = None
    right: float | int | bool | str | None = None
    nan: tuple[int, int, int] = (0, 0, 0)
    inf: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class TensorDifference:
    """One thing that is not the same on both sides.

    `name` is the canonical name where the layout is known, the written one otherwise; `other_name` is what the right side calls
    it where that differs, and `written` what the left side does where a layout paired them. `sublayer` is the canonical
    index (within its MTP `depth`, when that is not None), None outside of the layers; `symbol` its kind; `place` says all
    that in words. `detail` is one sentence; `by` how the names were paired.
    A "renamed" one that layout rules explain is no difference of content (`content` is False).
    """

    kind: Kind
    name: str
    other_name: str | None = None
    sublayer: int | None = None
    depth: int | None = None
    symbol: str | None = None
    place: str = ""
    detail: str = ""
    left: str = ""  # shape and dtype, "[64, 128] bfloat16"; "" where there is nothing
    right: str = ""
    by: PairedBy = "name"
    metrics: Metrics | None = None
    written: str | None = None

    @property
    def content(self) -> bool:
        """True where the two sides do not hold the same, whatever it is called."""
        return not (self.kind == "renamed" and self.by == "layout")


@dataclass(frozen=True)
class Side:
    """One of the two: where it is, what it is, what its names say."""

    where: str
    format: str
    layout: str
    form: str
    backend: str | None
    pattern: str | None
    tensors: int
    elements: int
    nbytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Rows that a person reads as one: the same tensor of consecutive sub-layers of one kind, with one outcome.

    `place` is "layers 0–51" or "embedding", `name` the name within the sub-layer ("mixer.A_log"), `symbol` the kind,
    `outcome` "equal" or a `Kind`; `worst` indexes `Diff.differences` (None where equal).
    """

    place: str
    symbol: str | None
    name: str
    outcome: str
    tensors: int
    elements: int
    worst: int | None = None
    members: tuple[int, ...] = ()


@dataclass(frozen=True)
class Detail:
    """One pair of tensors looked at closely, for a reader who opens it.

    `histogram` counts entries by |a - b|: (lowest power of ten of the bin, None for "exactly equal"; count). `heat` is a
    coarse map of the tensor's last two axes, rows of the share of mismatched entries in each cell (0 to 1), with `rows`
    and `columns` the elements that a cell is high and wide.
    """

    name: str
    metrics: Metrics
    histogram: tuple[tuple[int | None, int], ...]
    heat: tuple[tuple[float, ...], ...]
    rows: int
    columns: int
    sample: tuple[tuple[tuple[int, ...], str, str], ...] = ()  # (index, left, right) of the worst entries


@dataclass(frozen=True)
class Diff:
    """Everything that a comparison found. `identical` means: every tensor has its counterpart, with the same dtype, shape and
    bits (or values within the tolerance); other names for the same layout are allowed, and listed.

    `sentences` say the cause first ("sub-layer 7 is Mamba-2 on the left and self-attention on the right").
    `counts` has "equal", every `Kind`, "tensors" and "elements". `compared` is False for a diff of names and shapes only,
    which is then never `identical`.
    """

    left: Side
    right: Side
    identical: bool
    same_names: bool
    compared: bool
    sentences: tuple[str, ...]
    differences: tuple[TensorDifference, ...]
    groups: tuple[Group, ...]
    counts: Mapping[str, int]
    tolerance: str
    seconds: float
    ignored: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    # Looks at one pair closely; set by the engine, None for a diff that was read from a file.
    look: Callable[[str], Detail] | None = field(default=None, compare=False, repr=False)

    view: ClassVar[Callable[[Diff], dict[str, str]] | None] = None

    def to_json(self) -> dict[str, Any]:
        """Everything but `look`, as plain data with a versioned `schema`."""
        names = [entry.name for entry in dataclasses.fields(self) if entry.name != "look"]
        found = {name: plain(getattr(self, name)) for name in names}
        return {"schema": SCHEMA, **found}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self)} if Diff.view is None else Diff.view(self)
