"""The `--sizes` of the commands that build a model of a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.arch.sizes import ModelSizes


def given_sizes(path: str | None) -> ModelSizes | None:
    """The sizes in a file, and None where no file was given. Raises `SizesError` for one that holds none."""
    if path is None:
        return None
    from workbench.arch.sizes import ModelSizes

    return ModelSizes.from_json(path)
