"""`read_hugging_face`: the weights of a Hugging Face model by canonical name, every one of them placed, none left over."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor, equal

from workbench.arch.architecture import Architecture, Part
from workbench.arch.reading import naming, read_json
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.opening import open_checkpoint
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError
from workbench.fusion.hugging_face.arranging import ARRANGEMENTS
from workbench.fusion.hugging_face.expressed import Expressed, expressed
from workbench.fusion.hugging_face.rules import DERIVED, FAMILIES, Family, Row
from workbench.pattern.model import Pattern

_MOST_LISTED = 8
_ENTRY = re.compile(r"(?P<name>.+)\[(?P<index>\d+)\]")


@dataclass(frozen=True)
class HuggingFaceWeights:
    """Weights under canonical names, and the unfused pattern, the sizes and the config fields of the model they are for.

    `fields` are those of `TransformerConfig` that the sizes have no place for.
    """

    where: str
    model_type: str
    pattern: Pattern
    sizes: ModelSizes
    fields: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_hugging_face(
    source: Any, config: Any = None, *, assume: Mapping[str, Any] | None = None, skip: Collection[str] = ()
) -> HuggingFaceWeights:
    """The weights of a Hugging Face causal language model, in the dtypes of the source and in memory of their own.

    The arguments and errors are those of `from_hugging_face`.
    """
    opened = open_checkpoint(source)
    found = {**_configuration(source, opened, config), **(assume or {})}
    understood = expressed(found, f"the configuration of {opened.where}")
    tensors = _Placing(opened, understood, skip).tensors()
    return HuggingFaceWeights(
        opened.where, understood.model_type, understood.pattern, understood.sizes, understood.fields, tensors
    )


# ------------------------------------------------------------------------------------------------------


def _configuration(source: Any, opened: Checkpoint, given: Any) -> dict[str, Any]:
    """The configuration that was given, or else the one that the source has, as its `config.json` says it."""
    config: Any = given if given is not None else opened.values.get("config") or getattr(source, "config", None)
    if isinstance(config, str | Path):
        path = Path(config)
        with naming(path):
            config = read_json(path / "config.json" if path.is_dir() else path)
    elif hasattr(config, "to_json_string"):
        # A configuration of transformers; its text writes infinity and tuples as files do.
        config = json.loads(config.to_json_string(use_diff=False))
    if not isinstance(config, Mapping):
        raise WorkbenchError(
            f"{opened.where} comes without a configuration: give config=, a mapping, a config.json, or model.config"
        )
    # `to_dict()` has tuples where a file has lists.
    return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}


class _Placing:
    """The tensors of one source, found for every canonical name; what is used is remembered."""

    def __init__(self, opened: Checkpoint, understood: Expressed, skip: Collection[str]) -> None:
        self.opened, self.sizes = opened, understood.sizes
        self.family: Family = FAMILIES[understood.model_type]
        self.architecture = Architecture(understood.pattern, understood.sizes, dtype="fp32")
        self.names = {name for name in opened.names if not any(fnmatchcase(name, each) for each in skip)}
        self.root = self._root()
        self.used: set[str] = set()

    def tensors(self) -> dict[str, Tensor]:
        """Every canonical name and its tensor; `WorkbenchError` names what has no counterpart on either side."""
        found: dict[str, Tensor] = {}
        missing: list[str] = []
        for part in self.architecture.parts:
            for name in _names(part, self.architecture):
                rows = [each for each in self._rows(part, name) if self._has(each[1])]
                if len(rows) == 1:
                    found[name] = self._arranged(name, *rows[0])
                else:
                    missing.append(self._said(part, name, len(rows)))
        if len(missing) > _MOST_LISTED:
            missing[_MOST_LISTED:] = [f"and {len(missing) - _MOST_LISTED} more canonical tensors that cannot be made"]
        problems = [*missing, *self._left_over(found)]
        if problems:
            raise WorkbenchError(f"{self.opened.where} does not fit its configuration:\n  " + "\n  ".join(problems))
        return found

    def _root(self) -> str:
        for root in self.family.roots:
            if any(name.startswith(f"{root}layers.") for name in self.names):
                return root
        expected = " or ".join(f"{root}layers.*" for root in self.family.roots)
        raise WorkbenchError(
            f"{self.opened.where} holds no names like {expected}: it must be a model with its language modelling head"
        )

    def _rows(self, part: Part, name: str) -> Iterator[tuple[Row, tuple[str, ...]]]:
        """(row, names in the source) of every alternative for a canonical name."""
        if part.layer is None:
            for each in self.family.outside:
                if each.ours == name:
                    yield each, tuple(source.format(root=self.root) for source in each.theirs)
            return
        prefix = self.family.layer(self.root, part.layer.index)
        for each, sources in self.family.rows_for(part.layer.symbol, name.removeprefix(part.prefix)):
            yield each, tuple(prefix + source for source in sources)

    def _has(self, sources: Iterable[str]) -> bool:
        return all(_tensor(source)[0] in self.names for source in sources)

    def _arranged(self, name: str, row: Row, sources: tuple[str, ...]) -> Tensor:
        taken = [self._read(source) for source in sources]
        try:
            return ARRANGEMENTS[row.how](taken, self.sizes)
        except RuntimeError as error:
            shapes = ", ".join(f"{source} {list(tensor.shape)}" for source, tensor in zip(sources, taken, strict=True))
            raise WorkbenchError(
                f"{self.opened.where}: {shapes} cannot be {name} (arranged {row.how!r}) at these sizes: {error}"
            ) from error

    def _read(self, source: str) -> Tensor:
        name, index = _tensor(source)
        self.used.add(name)
        if index is None:
            return self.opened.read(name)
        count = self.opened.shape(name)[0] if self.opened.shape(name) else 0
        if count != self.sizes.moe_experts:
            raise WorkbenchError(
                f"{self.opened.where}: {name} is {list(self.opened.shape(name))}, and the configuration has {self.sizes.moe_experts} "
                "experts"
            )
        return self.opened.read(name, (slice(index, index + 1),))[0]

    def _said(self, part: Part, name: str, found: int) -> str:
        looked_for = ["+".join(sources) for _, sources in self._rows(part, name)]
        if not looked_for:
            return f"{name} ({part.name}) has no rule"
        there = "both are" if found else "none is"
        return f"{name} ({part.name}) is made of {' or of '.join(looked_for)}, of which {there} there"

    def _left_over(self, found: Mapping[str, Tensor]) -> Iterator[str]:
        names = self.names - self.used
        head = "lm_head.weight"
        if self.sizes.tied_embeddings and head in names:
            names.remove(head)
            if not equal(self.opened.read(head), found["embedding.word_embeddings.weight"]):
                yield f"{head} is not the embedding, and tie_word_embeddings is true"
        names = {name for name in names if not name.endswith(DERIVED)}
        listed = sorted(names)[:_MOST_LISTED]
        if names:
            more = f" and {len(names) - len(listed)} more" if len(names) > len(listed) else ""
            yield (
                f"there is no place for {', '.join(listed)}{more} (skip=('NAME', 'PREFIX.*') leaves tensors out knowingly)"
            )


def _names(part: Part, architecture: Architecture) -> Iterator[str]:
    for weight in part.rows:
        for each in weight.each():
            yield architecture.tensor(f"{part.prefix}{each.name}", each).name


def _tensor(source: str) -> tuple[str, int | None]:
    """A source of a row: a tensor's name, and which entry of it.

    >>> _tensor("mlp.experts.down_proj[3]"), _tensor("norm.weight")
    (('mlp.experts.down_proj', 3), ('norm.weight', None))
    """
    match = _ENTRY.fullmatch(source)
    return (match["name"], int(match["index"])) if match else (source, None)
