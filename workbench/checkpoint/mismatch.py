"""Why a checkpoint does not fit a model, in sentences a person can act on. Pure: names and shapes only.

Loading by name fails with hundreds of missing and unexpected keys when one layer is of another kind, one more, or one size
is another. Each cause is said once: which sub-layer is what on either side, which sizes differ, and only then what is
left, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from workbench.checkpoint.inference.reasons import reasons
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

type Shape = tuple[int, ...]


class CheckpointMismatch(WorkbenchError):
    """A checkpoint that does not fit a model. `missing` and `unexpected` are canonical names, `shapes` (name, model's,
    checkpoint's)."""

    def __init__(
        self,
        problems: Iterable[str],
        missing: Collection[str],
        unexpected: Collection[str],
        shapes: Collection[tuple[str, Shape, Shape]] = (),
    ) -> None:
        self.missing, self.unexpected, self.shapes = tuple(missing), tuple(unexpected), tuple(shapes)
        super().__init__("the checkpoint does not fit the model:\n  " + "\n  ".join(problems))


@dataclass(frozen=True)
class NameDifferences:
    """Names that one side lacks, and (name, model's shape, checkpoint's) where both have one; all in the order of text."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[tuple[str, Shape, Shape], ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)


def compared(wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> NameDifferences:
    """What a model wants against what a checkpoint has, both name → shape."""
    return NameDifferences(
        tuple(sorted(wanted.keys() - found.keys())),
        tuple(sorted(found.keys() - wanted.keys())),
        tuple(
            (name, tuple(wanted[name]), tuple(found[name]))
            for name in sorted(wanted.keys() & found.keys())
            if tuple(wanted[name]) != tuple(found[name])
        ),
    )


def check_names(
    wanted: Mapping[str, Shape], found: Mapping[str, Shape], pattern: Pattern, *, strict: bool = True
) -> None:
    """Raise `CheckpointMismatch` unless the names and shapes `found` are those `wanted` by a model of this pattern.

    Both are canonical name → shape. With `strict=False` missing and unexpected names are allowed; a wrong shape never is.
    """
    differences = compared(wanted, found)
    if not strict:
        names = {name for name, _, _ in differences.shapes}
        wanted, found = ({name: side[name] for name in names} for side in (wanted, found))
        differences = NameDifferences((), (), differences.shapes)
    if differences:
        raise CheckpointMismatch(
            reasons(wanted, found, pattern), differences.missing, differences.unexpected, differences.shapes
        )
