"""How a plan is carried out: as safetensors, as a new torch_dist folder, or as one that takes the data files over as they are.

numpy only; torch is imported where torch_dist is written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from functools import cached_property, lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from workbench.checkpoint.buffers import FileBuffer
from workbench.checkpoint.converting.extra_states import carried, is_extra_state, needed, sharded_axes
from workbench.checkpoint.converting.output import Output, Progress, Written
from workbench.checkpoint.converting.plan import Plan, same_place
from workbench.checkpoint.converting.torch_record import write_value
from workbench.checkpoint.converting.write_safetensors import write_safetensors, write_sharded
from workbench.checkpoint.converting.write_torch_dist import (
    COMMON,
    FORMAT,
    METADATA,
    Entry,
    Record,
    write_metadata,
    write_torch_dist,
)
from workbench.checkpoint.reading.dcp_metadata import Metadata, Place, read_metadata
from workbench.checkpoint.source import Checkpoint, StoredObject
from workbench.checkpoint.tensors import StoredTensor
from workbench.errors import WorkbenchError

_COMMON_OBJECT = "common_state/shard_0_1"
# Megatron-LM's loaders look at it to know how qkv weights are laid out; this is what it writes today.
_VERSION = 3.0
_SCALARS = (str, int, float, bool)


class Way(Protocol):
    """Writes a plan's tensors to a place; `besides` are names that are read there and are no tensors of the plan."""

    notes: tuple[str, ...]
    besides: frozenset[str]

    def write(self, place: Path, progress: Progress) -> Written:
        """Write everything; the folder is there."""
        ...

    def shares(self, read: Checkpoint) -> bool:
        """True where what was written, and read again, is known to be the source's own bytes: there is nothing to compare."""
        ...


def way_of(plan: Plan, link: bool) -> Way:
    """The way that decodes least; `WorkbenchError` with the reason where `link` was asked for and nothing can be shared."""
    if plan.format == "safetensors":
        if link:
            raise WorkbenchError(
                "a safetensors file holds names and data in one, so nothing of it can be linked: leave --link out to copy"
            )
        return _Safetensors(plan)
    if plan.source.format != "torch_dist":
        if link:
            raise WorkbenchError(
                f"{plan.source.where} is {plan.source.format}, and only torch_dist data files can be linked: leave --link out"
            )
        return _TorchDist(plan)
    folder = _Folder(plan)
    changed = folder.changed
    if not changed:
        return _SameFiles(folder, link)
    if link:
        raise WorkbenchError(
            f"{len(changed)} of {len(plan.tensors)} tensors are stored in other pieces in the {plan.to} layout, such as "
            f"{changed[0]}: their data files cannot be linked; leave --link out to write them anew"
        )
    return _TorchDist(plan, folder)


# ------------------------------------------------------------------------------------------------------


class _Safetensors:
    besides: frozenset[str] = frozenset()

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.notes = _not_held(plan)

    def write(self, place: Path, progress: Progress) -> Written:
        values = {str(key): str(value) for key, value in self.plan.source.values.items() if type(value) in _SCALARS}
        values |= {
            "format": "pt",
            "workbench.layout": self.plan.to,
            "workbench.pattern": self.plan.pattern,
        }
        if self.plan.one_file:
            return write_safetensors(place, self.plan.tensors, values, progress)
        return write_sharded(place, self.plan.tensors, values, progress)

    def shares(self, read: Checkpoint) -> bool:
        return False


class _Folder:
    """The source of a plan as a torch_dist folder: where exactly everything in it lies."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.path = plan, Path(plan.source.where)

    @cached_property
    def metadata(self) -> Metadata:
        """What its `.metadata` says."""
        return read_metadata(self.path)

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """The plan's tensors, without those that lie among the common values, which are taken over as they are."""
        stored, common = self.metadata.tensors, self.plan.source.tensors
        return {
            name: tensor
            for name, tensor in self.plan.tensors.items()
            if name in stored or common.get(name) is not tensor
        }

    @cached_property
    def places(self) -> dict[str, str]:
        """Tensor of the plan → the tensor of the folder that lies in the same bytes in the same shape."""
        source = self.plan.source.tensors
        found = {}
        for entry in self.plan.mapping():
            old = entry.sources[0] if len(entry.sources) == 1 else ""
            if entry.name not in self.tensors or old not in self.metadata.tensors:
                continue
            if same_place(self.tensors[entry.name], source[old]):
                found[entry.name] = old
        return found

    @property
    def changed(self) -> list[str]:
        """The tensors that are no tensor of the folder."""
        return [name for name in self.tensors if name not in self.places]

    @cached_property
    def objects(self) -> dict[str, StoredObject | None]:
        """Its objects under the keys that they have in the target, and empty ones for what else a model there asks for."""
        gpt = self.plan.to == "gpt"
        held = {name: StoredObject(*place) for name, place in self.metadata.objects.items()}
        extra = {name: data for name, data in held.items() if is_extra_state(name)}
        rest = {name: data for name, data in held.items() if name not in extra}
        asked = needed(self.tensors, gpt=gpt, te=self.plan.backend == "te" and not extra)
        return {**rest, **asked, **carried(self.plan.source.tensors, extra, self.tensors, gpt=gpt)}

    @property
    def common(self) -> StoredObject | None:
        """Its `common.pt`, which megatron wrote before 0.19."""
        file = self.path / COMMON
        if not file.exists():
            return None
        data = FileBuffer(file)
        return StoredObject(data, 0, data.size)


class _TorchDist:
    """Every tensor written anew."""

    def __init__(self, plan: Plan, folder: _Folder | None = None) -> None:
        self.plan, self.folder = plan, folder
        self.notes: tuple[str, ...] = () if folder else _not_held(plan)
        self.tensors: Mapping[str, StoredTensor] = folder.tensors if folder else plan.tensors
        self.besides = frozenset(plan.tensors.keys() - self.tensors.keys())

    def write(self, place: Path, progress: Progress) -> Written:
        if self.folder is not None:
            objects: Mapping[str, StoredObject | None] = self.folder.objects
            common: Any = self.folder.common
            if common is None and _COMMON_OBJECT not in objects:
                common = self._values()
        else:
            objects = needed(self.tensors, gpt=self.plan.to == "gpt", te=self.plan.backend == "te")
            common = self._values()
        return write_torch_dist(
            place, self.tensors, objects=objects, common=common, sharded_axes=sharded_axes, progress=progress
        )

    def _values(self) -> dict[str, Any]:
        step = self.plan.source.values.get("iteration", 0)
        iteration = int(step) if type(step) is int or (isinstance(step, str) and step.isdecimal()) else 0
        assert self.plan.layout.pattern is not None, "what has none is not converted"
        record = {"pattern": str(self.plan.layout.pattern.unfused()), "extra": {}}
        return {"checkpoint_version": _VERSION, "iteration": iteration, "workbench": record}

    def shares(self, read: Checkpoint) -> bool:
        return False


class _SameFiles:
    """Only keys change: the data files, which hold none, are taken over, and `.metadata` is written anew."""

    def __init__(self, folder: _Folder, link: bool) -> None:
        self.folder, self.link = folder, link
        self.besides: frozenset[str] = frozenset()
        self.notes: tuple[str, ...] = (
            ("the data files are the source's own, under a second name: whoever changes one in place changes both",)
            if link
            else ()
        )

    def write(self, place: Path, progress: Progress) -> Written:
        files, linked, copied = [], 0, 0
        for name, data in self.folder.metadata.files.items():
            files.append(place / name)
            if self.link:
                _link(data.path, place / name)
                linked += data.size
            else:
                with Output(place / name, progress) as output:
                    output.file(data.path)
                copied += data.size
        if self.folder.common is not None:
            with Output(place / COMMON) as output:
                output.file(self.folder.path / COMMON)
            files.append(place / COMMON)
        objects = {
            name: _record(Place(data.data, data.start, data.length))  # type: ignore[arg-type]
            for name, data in self.folder.objects.items()
            if data is not None
        }
        lacking = [name for name, data in self.folder.objects.items() if data is None]
        if lacking:
            files.append(place / _free_name(self.folder.metadata.files))
            with Output(files[-1]) as output:
                objects |= {name: Record(files[-1].name, *write_value(output, [None])) for name in lacking}
        write_metadata(place, self._entries(), objects)
        return Written((*files, place / METADATA, place / FORMAT), copied=copied, linked=linked)

    def shares(self, read: Checkpoint) -> bool:
        """The files are the same, and every tensor lies where the source's lies in them."""
        if not self.link:
            return False
        source, same = self.folder.plan.source.tensors, lru_cache(maxsize=None)(os.path.samefile)

        def lies(tensor: StoredTensor) -> list[Any]:
            return [(piece.offset, piece.shape, piece.data.place) for piece in tensor.pieces]  # type: ignore[attr-defined]

        return all(
            ours[:2] == theirs[:2] and ours[2][1:] == theirs[2][1:] and same(ours[2].file.path, theirs[2].file.path)
            for name, old in self.folder.places.items()
            for ours, theirs in zip(lies(read[name]), lies(source[old]), strict=True)
        )

    def _entries(self) -> dict[str, Entry]:
        entries = {}
        for name, source in self.folder.places.items():
            found = self.folder.metadata.tensors[source]
            records = [_record(shard.place, shard.offset, shard.shape) for shard in found.shards]
            entries[name] = Entry(found.shape, found.dtype, tuple(records))
        return entries


def _record(place: Place, offset: tuple[int, ...] = (), shape: tuple[int, ...] = ()) -> Record:
    return Record(place.file.path.name, place.start, place.length, offset, shape)


def _free_name(taken: Mapping[str, Any]) -> str:
    """A data file's name that no rank of the source used."""
    return next(name for rank in count() if (name := f"__{rank}_0.distcp") not in taken)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        raise WorkbenchError(f"{source} cannot be linked there: {error.strerror}; leave --link out to copy") from error


def _not_held(plan: Plan) -> tuple[str, ...]:
    """What the target does not hold of the source."""
    source, notes = plan.source, []
    lost = [name for name, value in source.values.items() if type(value) not in _SCALARS]
    if lost:
        notes.append(f"values that are more than a text or a number are left out: {', '.join(map(str, lost[:6]))}")
    if source.objects:
        notes.append(
            f"{len(source.objects)} objects that are no tensors are left out, such as {next(iter(source.objects))}"
        )
    return tuple(notes)
