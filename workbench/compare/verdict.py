"""What a comparison of twins found, as plain frozen data. Pure: imports the standard library only.

Life of a verdict: `workbench.compare.equivalence` measures and builds it, `workbench.views.verdict` turns it
into a scene, `Verdict.to_json` / `Verdict.from_json` carry it between the two.
"""

from __future__ import annotations

import math
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
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else data
            raise WorkbenchError(f"not a verdict: expected schema {SCHEMA!r}, found {found!r:.100}")
        try:
            verdict = cls(
                left=_twin(data["left"]),
                right=_twin(data["right"]),
                checks=tuple(_check(check) for check in data["checks"]),
                environment=_mapping(data["environment"], _DEEPEST),
                seconds={name: _span(spent) for name, spent in _mapping(data["seconds"]).items()},
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise WorkbenchError(f"not a verdict: {error!s:.200}") from error
        if data.get("equivalent", verdict.equivalent) is not verdict.equivalent:
            raise WorkbenchError("not a verdict: what it says of equivalence is not what its checks say")
        return verdict

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if Verdict.view is None:
            return {"text/plain": repr(self)}
        return Verdict.view(self)


# ------------------------------------------------------------------------------------------------------

_DEEPEST = 8  # levels of an environment

# What a file may hold in a field. JSON has no infinities: they were written as the texts "nan" and "inf".
_TEXT, _COUNT, _NUMBER = (str,), (int,), (int, float, str, type(None))
_TWIN = {"pattern": _TEXT, "blocks": _COUNT, "sublayers": _COUNT, "fused": _COUNT, "parameters": _COUNT}
_CHECK = {"name": _TEXT, "question": _TEXT, "summary": _TEXT}
_DIFFERENCE = {
    **dict.fromkeys(("name", "place", "problem", "detail"), _TEXT),
    **dict.fromkeys(("mismatched", "elements"), (int, type(None))),
    **dict.fromkeys(("max_abs", "max_rel", "max_ulp"), _NUMBER),
}


def _twin(data: Mapping[str, Any]) -> Twin:
    return Twin(**{**_typed(data, _TWIN), "modules": tuple((str(name), str(kind)) for name, kind in data["modules"])})


def _check(data: Mapping[str, Any]) -> Check:
    passed = _mapping(data)["passed"]
    if not any(passed is outcome for outcome in (True, False, None)):
        raise TypeError(f"passed is {passed!r}")
    differences = tuple(_difference(item) for item in data["differences"])
    return Check(
        **{
            **_typed(data, _CHECK),
            "measured": _mapping(data["measured"]),
            "seconds": _span(data["seconds"]),
            "differences": differences,
        }
    )


def _difference(data: Mapping[str, Any]) -> Difference:
    index = data["first_index"]
    return Difference(**{**_typed(data, _DIFFERENCE), "first_index": None if index is None else tuple(map(int, index))})


def _typed(data: Mapping[str, Any], wanted: Mapping[str, tuple[type, ...]]) -> Mapping[str, Any]:
    for name, types in wanted.items():
        value = _mapping(data)[name]
        if not isinstance(value, types) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}")
    return data


def _mapping(data: Any, depth: int | None = None) -> Mapping[str, Any]:
    """The data, which must be an object; where `depth` is given, objects and lists in it nest no deeper."""
    if not isinstance(data, Mapping):
        raise TypeError(f"expected an object, found {data!r}")
    level: list[Any] = [data]
    for _ in range(depth or 0):
        inner = (entry.values() if isinstance(entry, Mapping) else entry for entry in level)
        level = [value for values in inner for value in values if isinstance(value, Mapping | list | tuple)]
    if depth is not None and level:
        raise ValueError(f"values nested more than {depth} deep")
    return data


def _span(seconds: Any) -> float:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not math.isfinite(seconds):
        raise TypeError(f"a time is {seconds!r}")
    return seconds
