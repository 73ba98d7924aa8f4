"""What a conversion will write, thought through before a byte is: names, their tensors, the format, and why not. numpy only."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from workbench.checkpoint.buffers import FileBuffer
from workbench.checkpoint.conversion import Renamed
from workbench.checkpoint.dtypes import dtype_of
from workbench.checkpoint.interop import to_gpt_refusals
from workbench.checkpoint.layout import Backend, Form, Layout
from workbench.checkpoint.source import Checkpoint
from workbench.checkpoint.tensors import StoredTensor
from workbench.errors import WorkbenchError, check_choice
from workbench.pattern.model import Pattern

type To = Literal["canonical", "fused", "gpt", "grouped"]
type Format = Literal["safetensors", "torch_dist"]

LAYOUTS: tuple[str, ...] = get_args(To.__value__)
FORMATS: tuple[str, ...] = get_args(Format.__value__)
FILE_SUFFIX = ".safetensors"
_BRACKETS = ("fused", "grouped")  # layouts whose names depend on them


@dataclass(frozen=True)
class Plan:
    """`tensors` by the names of the target. `one_file` is True where the target is a file, not a folder."""

    source: Checkpoint
    layout: Layout
    to: To
    format: Format
    form: Form
    one_file: bool
    backend: Backend
    pattern: str
    tensors: Mapping[str, StoredTensor]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def mapping(self) -> tuple[Renamed, ...]:
        """Where the bytes of each tensor come from."""
        return origins(self.source.tensors, self.tensors)


def make_plan(
    source: Checkpoint,
    target: Path,
    to: str,
    *,
    format: str | None = None,
    pattern: Pattern | str | None = None,
    names: str | None = None,
) -> Plan:
    """Find out what the source is and what it becomes; `WorkbenchError` with the reason where it cannot."""
    from workbench.checkpoint.layouts import arranged, layout_of

    check_choice("to", to, LAYOUTS)
    if names is not None:
        check_choice("names", names, get_args(Backend))
    kind, one_file = _format(source, target, format)
    layout = layout_of(source)
    if layout.pattern is None or layout.name == "hugging_face":
        raise WorkbenchError(
            f"{source.where} cannot be converted: its names are of no layout that is converted here"
            + "".join(f"; {reason}" for reason in layout.reasons[:3])
        )
    _check_possible(source.where, layout.pattern, to, kind)
    wanted = _pattern(layout.pattern, to, pattern)
    form: Form = "distributed" if kind == "torch_dist" else "state_dict"
    backend: Backend = names or (layout.backend if to in ("fused", "gpt") else None) or "te"  # type: ignore[assignment]
    tensors = arranged(
        layout,
        to,  # type: ignore[arg-type]
        form=form,
        backend=backend,
        pattern=wanted if to in _BRACKETS else None,
    )
    return Plan(source, layout, to, kind, form, one_file, backend, str(wanted), tensors)  # type: ignore[arg-type]


def check_apart(source: Any, opened: Checkpoint, target: Path) -> None:
    """Raise `WorkbenchError` where writing the target would touch the source: it is the source, in it, or around it."""
    place = target.resolve()
    for path in _paths(source, opened):
        if path == place or (os.path.exists(place) and os.path.exists(path) and os.path.samefile(path, place)):
            raise WorkbenchError(f"{target} is the source: a source is never changed; give another path")
        if path.is_dir() and place.is_relative_to(path):
            raise WorkbenchError(f"{target} lies in the source, which is never changed: give a path outside of {path}")
        if path.is_relative_to(place):
            raise WorkbenchError(f"the source lies in {target}, which would be replaced: give another path")


def origins(source: Mapping[str, StoredTensor], target: Mapping[str, StoredTensor]) -> tuple[Renamed, ...]:
    """For each tensor of the target, the names in the source that its bytes lie under, in the order of its pieces."""
    places: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for name, tensor in source.items():
        for piece in tensor.pieces:
            places[id(piece.data)].append((piece.start, name))
    starts: dict[int, list[int]] = {}
    for key, held in places.items():
        held.sort()
        starts[key] = [start for start, _ in held]
    found = []
    for name, tensor in target.items():
        names: dict[str, None] = {}
        for piece in tensor.pieces:
            key = id(piece.data)
            at = bisect_right(starts.get(key, []), piece.start) - 1
            if at >= 0:
                names[places[key][at][1]] = None
        found.append(Renamed(name, tuple(names)))
    return tuple(found)


def same_place(one: StoredTensor, other: StoredTensor) -> bool:
    """The same bytes under the same shape, whatever boxes the two are said to be made of."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    if one is other:
        return True
    item = dtype_of(one.dtype).bytes
    boxes = defaultdict(list)
    for piece in other.pieces:
        boxes[id(piece.data)].append(piece)

    def within(piece: Any) -> bool:
        for box in boxes[id(piece.data)]:
            skipped = [at - start for at, start in zip(piece.offset, box.offset, strict=True)]
            inside = all(
                skip >= 0 and skip + size <= room
                for skip, size, room in zip(skipped, piece.shape, box.shape, strict=True)
            )
            start = box.start + item * sum(skip * stride for skip, stride in zip(skipped, box.strides, strict=True))
            strides = zip(piece.shape, piece.strides, box.strides, strict=True)
            if inside and start == piece.start and all(size == 1 or ours == theirs for size, ours, theirs in strides):
                return True
        return False

    return all(within(piece) for piece in one.pieces)


# ------------------------------------------------------------------------------------------------------


def _format(source: Checkpoint, target: Path, wanted: str | None) -> tuple[Format, bool]:
    """The target's format, and whether it is one file."""
    is_file = target.suffix == FILE_SUFFIX
    if wanted is not None:
        check_choice("format", wanted, FORMATS)
    if wanted == "torch_dist" and is_file:
        raise WorkbenchError(f"{target} is called a safetensors file, and torch_dist is a folder: give a folder")
    if not is_file and target.suffix in (".pt", ".pth", ".bin", ".ckpt", ".json"):
        raise WorkbenchError(
            f"{target}: safetensors and torch_dist are written, nothing else; give a FILE.safetensors or a folder"
        )
    if wanted is None:
        wanted = "torch_dist" if source.format == "torch_dist" and not is_file else "safetensors"
    return wanted, is_file  # type: ignore[return-value]


def _pattern(found: Pattern, to: str, given: Pattern | str | None) -> Pattern | str:
    """The pattern of the target: the given one, or one with every pair in brackets where it takes some."""
    if to not in _BRACKETS:
        if given is not None and Pattern(given) != Pattern(given).unfused():
            raise WorkbenchError(
                f"the {to} layout knows no brackets: leave --pattern out, or convert to fused or grouped"
            )
        if given is not None and _symbols(Pattern(given)) != _symbols(found):
            raise WorkbenchError(f"{given} is not a pattern of this checkpoint, which is {found.unfused()}")
        return found.unfused()
    if given is not None:
        _check_depths(found, given)
        return given if to == "grouped" else Pattern(given)
    if found != found.unfused():
        return found
    return found.fused() if to == "fused" or found.mtp is None else _without_mtp_groups(found)


def _symbols(pattern: Pattern) -> tuple[str, str]:
    """The kinds of the sub-layers, and those of MTP, whatever the stages and the brackets."""
    return pattern.symbols, "" if pattern.mtp is None else pattern.mtp.symbols


def _check_depths(found: Pattern, given: Pattern | str) -> None:
    """Raise `WorkbenchError` for another number of MTP depths than the source has; one may stand for all that repeat it."""
    held, depths = (
        0 if found.mtp is None else found.mtp.depths,
        str(given).count("/"),
    )  # the newer dialect is no `Pattern`
    if held > 1 and depths not in (0, held):  # 0: other sub-layers, which is said of them
        raise WorkbenchError(
            f"{given} is not a pattern of this checkpoint: it has {depths} MTP depth(s), not the {held} of {found}"
        )


def _without_mtp_groups(pattern: Pattern) -> Pattern:
    """Every pair of the main pattern in brackets; the newer dialect has none in MTP."""
    assert pattern.mtp is not None, "it has MTP"
    return Pattern(pattern.fused().main + f"/{pattern.unfused().mtp}" * pattern.mtp.depths)


def _check_possible(where: str, pattern: Pattern, to: str, kind: str) -> None:
    if to == "gpt" and (reasons := to_gpt_refusals(pattern)):
        raise WorkbenchError(f"{where} ({pattern}) cannot become a GPT model's: {'; '.join(reasons)}")
    if to == "fused" and kind == "torch_dist":
        raise WorkbenchError(
            "the stored keys of a fused model are canonical by design: a torch_dist checkpoint says nothing about fusion, and every "
            "fusion of the same symbols loads it; convert --to canonical, or to a safetensors file"
        )


def _paths(source: Any, opened: Checkpoint) -> set[Path]:
    """Every path that the source is known to be at: what was given, what was opened, and the files of its tensors."""
    found = {Path(source).resolve()} if isinstance(source, str | os.PathLike) else set()
    if found and os.path.exists(opened.where):
        found.add(Path(opened.where).resolve())
    files = {id(piece.data): piece.data for tensor in opened.tensors.values() for piece in tensor.pieces}
    return found | {data.path.resolve() for data in files.values() if isinstance(data, FileBuffer)}
