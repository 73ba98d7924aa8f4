"""`convert`: a checkpoint under the names of another layout, or in another format. numpy only; torch where torch_dist is written.

What is written is read again and compared with the source, bit for bit, before it is renamed into place; the source is only
read. Tensors are never in memory: their bytes are copied as runs of files, or put together block by block.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.checkpoint.comparing.blocks import unequal
from workbench.checkpoint.conversion import Converted, End
from workbench.checkpoint.converting.output import Progress, Written
from workbench.checkpoint.converting.placing import beside, check_target
from workbench.checkpoint.converting.plan import Plan, check_apart, make_plan
from workbench.checkpoint.converting.ways import Way, way_of
from workbench.checkpoint.layout import Layout
from workbench.checkpoint.layouts import layout_of
from workbench.checkpoint.opening import open_checkpoint
from workbench.checkpoint.reading.safetensors_file import open_safetensors
from workbench.checkpoint.reading.torch_dist import open_torch_dist
from workbench.checkpoint.reading.uncollected import uncollected
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

type Told = Callable[[int, int], None]


@uncollected()
def convert(
    source: Any,
    target: str | Path,
    to: str = "canonical",
    *,
    format: str | None = None,
    pattern: Pattern | str | None = None,
    names: str | None = None,
    link: bool = False,
    force: bool = False,
    dry_run: bool = False,
    progress: Told | None = None,
) -> Converted:
    """Write `source` (a path, module, mapping, `Checkpoint`) to `target` with the names of the layout `to`.

    `to` is "canonical", "fused" (a built fused model's state dict), "gpt" (megatron's `GPTModel`) or "grouped" (the
    newer dialect of groups). `format` is "safetensors" or "torch_dist"; by default a `*.safetensors` is one file, torch_dist
    stays torch_dist, and all else becomes safetensors, in files of 5 GB. `pattern` says the brackets of "fused" and
    "grouped" (every pair, if not given); `names` is "te" or "local". `link=True` shares the data files of a torch_dist
    folder with the new one, where nothing but names changes, and is refused elsewhere. `progress(done, total)` is told bytes.

    Raises `WorkbenchError` when the source cannot be read or cannot have that layout, when the target exists and `force` is not
    given, lies in the source, or cannot be written, and when what was written is not the source's.
    """
    began = time.perf_counter()
    target = Path(target).absolute()
    check_target(target, force)
    opened = open_checkpoint(source)
    check_apart(source, opened, target)
    plan = make_plan(opened, target, to, format=format, pattern=pattern, names=names)
    way = way_of(plan, link)
    written = Written(())
    if not dry_run:
        bar = _Bar(progress, 2 * plan.nbytes)
        with beside(target, force) as place:
            if not plan.one_file:
                place.mkdir()
            written = way.write(place, bar.add)
            _verify(plan, way, place, bar.add)
    return Converted(
        source=_end(opened, plan.layout),
        target=_target_end(plan, target),
        mapping=plan.mapping(),
        files=tuple(file.name for file in written.files),
        dry_run=dry_run,
        verified=not dry_run,
        seconds=time.perf_counter() - began,
        linked_bytes=written.linked,
        copied_bytes=written.copied,
        gathered_bytes=written.gathered,
        notes=(*opened.notes, *way.notes),
    )


# ------------------------------------------------------------------------------------------------------


class _Bar:
    """Bytes done of those in all: each is written once, and compared once."""

    def __init__(self, told: Told | None, total: int) -> None:
        self.told, self.total, self.done = told, total, 0

    def add(self, nbytes: int) -> None:
        self.done += nbytes
        if self.told is not None:
            self.told(min(self.done, self.total), self.total)


def _verify(plan: Plan, way: Way, place: Path, done: Progress) -> None:
    """Read what was written as anyone would, and compare it with the source; `WorkbenchError` where they differ."""
    read = open_torch_dist(place) if plan.format == "torch_dist" else open_safetensors(place)
    if read.tensors.keys() != plan.tensors.keys() | way.besides:
        raise _unlike("the names", sorted(read.tensors.keys() ^ (plan.tensors.keys() | way.besides)))
    ours, theirs = plan.layout.canonical, layout_of(read).canonical
    if ours.keys() != theirs.keys():
        raise _unlike("the meaning of the names", sorted(ours.keys() ^ theirs.keys()))
    pairs = {name: (ours[name].tensor, theirs[name].tensor) for name in ours}
    shapes = [name for name, (one, two) in pairs.items() if (one.shape, one.dtype) != (two.shape, two.dtype)]
    if shapes:
        raise _unlike("the shapes", shapes)
    if way.shares(read):
        done(plan.nbytes)
        return
    names = list(pairs)
    if different := unequal([pairs[name] for name in names], done):
        raise _unlike("the contents", [names[index] for index in sorted(different)])


def _unlike(what: str, names: list[str]) -> WorkbenchError:
    return WorkbenchError(
        f"what was written is not the source: {what} differ(s) for {len(names)} tensor(s), such as {names[0]}; it was removed"
    )


def _end(opened: Checkpoint, layout: Layout) -> End:
    return End(
        opened.where,
        opened.format,
        layout.name,
        layout.form,
        layout.backend,
        None if layout.pattern is None else str(layout.pattern),
        len(opened.tensors),
        opened.nbytes,
    )


def _target_end(plan: Plan, target: Path) -> End:
    backend = plan.backend if plan.form == "state_dict" else None
    return End(str(target), plan.format, plan.to, plan.form, backend, plan.pattern, len(plan.tensors), plan.nbytes)
