"""What a comparison of twins found, as plain frozen data. Pure: imports the standard library only.

Life of a verdict: `workbench.compare.equivalence` measures and builds it, `workbench.views.verdict` turns it
into a scene, `Verdict.to_json` / `Verdict.from_json` carry it between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from workbench.errors import WorkbenchError

SCHEMA = "workbench.verdict/1"

# The summary of every check after the first, when that one finds that the two are no twins.
NO_TWINS = "not run: the two do not have the same sub-layers"

Number = int | float | str | bool | None


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same on the two sides.

    `name` is canonical (`decoder.layers.3.mixer.A_log`), `place` is the same in words (`sub-layer 3, Mamba-2`).
    `problem` is one of `value`, `shape`, `dtype`, `missing`, `extra`, `nan`, `structure`. The numbers are `None` where
    they have no meaning: `mismatched` of `elements` entries differ, by at most `max_abs`, relative `max_rel`, and
    `max_ulp` units in the last place of the tensor's own dtype; `first_index` is the first entry that differs.
    """

    name: str
    place: str
    problem: str
    detail: str = ""
    mismatched: int | None = None
    elements: int | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    first_index: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Check:
    """One question about the twins, and what was measured to answer it.

    `passed` is `None` when the check could not run (`summary` says why); that is never a pass.
    `differences` holds the first ones in the order of the model, cut to a readable number; `measured["differences"]` counts all.
    """

    name: str
    question: str
    passed: bool | None
    summary: str
    measured: Mapping[str, Number] = field(default_factory=dict)
    seconds: float = 0.0
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Twin:
    """One of the two models: its pattern, and the modules that were really built (`modules`, one row a block)."""

    pattern: str
    blocks: int
    sublayers: int
    fused: int
    parameters: int
    modules: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Are the twins one model? The answer, every check behind it, and what it was obtained with.

    `environment` holds versions, device, backend, dtype, seeds, steps, tolerances, sizes and digests;
    `seconds` the time split (`import`, `build`, `checks`, ...).
    """

    left: Twin
    right: Twin
    checks: tuple[Check, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    # How a notebook shows a verdict. The views set it (`workbench/__init__.py`), so that this package need not know
    # them.
    view: ClassVar[Callable[[Verdict], dict[str, str]] | None] = None

    @property
    def equivalent(self) -> bool:
        """True only when there are checks and every one of them ran and passed."""
        return bool(self.checks) and all(check.passed is True for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed or could not run, in order."""
        return tuple(check for check in self.checks if check.passed is not True)

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON data; `schema` names the version of the layout."""
        return {"schema": SCHEMA, "equivalent": self.equivalent, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """A verdict from `to_json` data; raises `WorkbenchError` when it is not one."""
        if data.get("schema") != SCHEMA:
            raise WorkbenchError(f"not a verdict: expected schema {SCHEMA!r}, found {data.get('schema')!r}")
        try:
            return cls(
                left=_twin(data["left"]),
                right=_twin(data["right"]),
                checks=tuple(_check(check) for check in data["checks"]),
                environment=data["environment"],
                seconds=data["seconds"],
            )
        except (KeyError, TypeError) as error:
            raise WorkbenchError(f"not a verdict: {error}") from error

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if Verdict.view is None:
            return {"text/plain": repr(self)}
        return Verdict.view(self)


def _twin(data: Mapping[str, Any]) -> Twin:
    return Twin(**{**data, "modules": tuple((str(name), str(kind)) for name, kind in data["modules"])})


def _check(data: Mapping[str, Any]) -> Check:
    return Check(**{**data, "differences": tuple(_difference(item) for item in data["differences"])})


def _difference(data: Mapping[str, Any]) -> Difference:
    index = data["first_index"]
    return Difference(**{**data, "first_index": None if index is None else tuple(index)})
