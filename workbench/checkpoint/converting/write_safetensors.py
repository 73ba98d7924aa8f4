"""Tensors into safetensors files, one or a set with an index, in bounded memory. numpy only.

The format: eight bytes with the length of a JSON header, the header, the tensors' bytes without a gap. The tensors are
sorted as the reference library sorts them, widest element first, so that each is aligned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from workbench.checkpoint.converting.output import Output, Progress, Written
from workbench.checkpoint.dtypes import dtype_of
from workbench.checkpoint.reading.safetensors_file import CODE_OF, MOST_HEADER
from workbench.checkpoint.tensors import StoredTensor
from workbench.errors import WorkbenchError

# torch's name → the format's; the reference library has no complex128 yet.
CODES: dict[str, str] = {name: code for name, code in CODE_OF.items() if name != "complex128"}
SHARD_BYTES = 5 * 10**9
INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_MOST_NAMES = 2**18  # in one file, so that no header grows too long


def write_safetensors(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    values: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Written:
    """One new file with these tensors and texts beside them. `WorkbenchError` before anything is written where the format
    cannot hold them; `OSError` where the disk cannot."""
    header, order = _header(tensors, values or {})
    with Output(path, progress) as output:
        output.write(len(header).to_bytes(8, "little"))
        output.write(header)
        for name in order:
            output.tensor(tensors[name])
    return Written((path,), output.copied, output.gathered)


def write_sharded(
    folder: Path,
    tensors: Mapping[str, StoredTensor],
    values: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Written:
    """Files of at most `shard_bytes` (or one tensor) each into a folder, with an index; one file without it where that is enough."""
    _check(tensors)
    shards = _shards(tensors, shard_bytes)
    if len(shards) == 1:
        return write_safetensors(folder / _SINGLE, tensors, values, progress)
    files: list[Path] = []
    weight_map: dict[str, str] = {}
    copied = gathered = 0
    for number, names in enumerate(shards, 1):
        path = folder / f"model-{number:05}-of-{len(shards):05}.safetensors"
        done = write_safetensors(path, {name: tensors[name] for name in names}, values, progress)
        files.append(path)
        copied, gathered = copied + done.copied, gathered + done.gathered
        weight_map |= dict.fromkeys(names, path.name)
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": {name: weight_map[name] for name in sorted(weight_map)},
    }
    with Output(folder / INDEX) as output:
        output.write(json.dumps(index, indent=2, ensure_ascii=False).encode())
    return Written((*files, folder / INDEX), copied, gathered)


# ------------------------------------------------------------------------------------------------------


def _header(tensors: Mapping[str, StoredTensor], values: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """The header, padded so that the data begins aligned, and the names in the order of the data."""
    _check(tensors)
    order = sorted(tensors, key=lambda name: (-dtype_of(tensors[name].dtype).bytes, name))
    entries: dict[str, object] = {"__metadata__": dict(values)} if values else {}
    at = 0
    for name in order:
        tensor = tensors[name]
        shape = list(tensor.shape)
        if tensor.dtype == "float4_e2m1fn_x2":
            shape[-1] *= 2  # the format counts the numbers, torch the bytes
        end = at + tensor.nbytes
        entries[name] = {"dtype": CODES[tensor.dtype], "shape": shape, "data_offsets": [at, end]}
        at = end
    try:
        header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise WorkbenchError(f"a safetensors file cannot hold a name that is no text: {error}") from error
    header += b" " * (-len(header) % 8)
    if len(header) > MOST_HEADER:
        raise WorkbenchError(
            f"the names of {len(tensors)} tensors take {len(header)} bytes, and no reader takes more than {MOST_HEADER} in one "
            "file: give a folder, which gets several"
        )
    return header, order


def _check(tensors: Mapping[str, StoredTensor]) -> None:
    """Raise `WorkbenchError` where the format has no such type, or keeps the name for itself."""
    unheld = {name: tensor.dtype for name, tensor in tensors.items() if _code(tensor) is None}
    if unheld:
        name, dtype = next(iter(unheld.items()))
        raise WorkbenchError(
            f"{name} is {dtype}, which a safetensors file cannot hold ({len(unheld)} such tensor(s)): write torch_dist"
        )
    if "__metadata__" in tensors:
        raise WorkbenchError("a safetensors file cannot hold a tensor that is called __metadata__")


def _code(tensor: StoredTensor) -> str | None:
    if tensor.dtype == "float4_e2m1fn_x2" and not tensor.shape:
        return None
    return CODES.get(tensor.dtype)


def _shards(tensors: Mapping[str, StoredTensor], shard_bytes: int) -> list[list[str]]:
    """The names in their order, divided where the next tensor would make a file too large."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and (size + tensor.nbytes > shard_bytes or len(shards[-1]) == _MOST_NAMES):
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    return shards
