"""`Checkpoint`: what every reader hands out, whatever the format. numpy only; torch is imported when a tensor is asked for.

Opening reads names, shapes and places; no tensor. Each format has its own module that makes one of these, and `opening` says
which format a path is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.checkpoint.buffers import Buffer
from workbench.checkpoint.tensors import Region, StoredTensor
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Something that is no tensor (`_extra_state`, RNG state): its bytes, which nobody here unpickles."""

    data: Buffer
    start: int
    length: int

    def read(self) -> bytes:
        """All of its bytes."""
        return self.data.view(self.start, self.length).tobytes()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was opened and not read.

    `where` is what to call it, `format` one of "safetensors", "torch", "dcp", "torch_dist", "hugging_face", "mapping",
    "module", "optimizer". `tensors` and `objects` are by name, in the order of the file. `values` are the plain values
    beside them: what `common.pt` holds, a `config.json`, a safetensors file's metadata. `notes` say what a reader should know.
    """

    where: str
    format: str
    tensors: Mapping[str, StoredTensor]
    objects: Mapping[str, StoredObject] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors' names."""
        return tuple(self.tensors)

    @property
    def elements(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.elements for tensor in self.tensors.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """The whole shape of a tensor, in elements."""
        return self[name].shape

    def dtype(self, name: str) -> str:
        """The element type, by torch's name: "bfloat16"."""
        return self[name].dtype

    def read(self, name: str, region: Region = ()) -> torch.Tensor:
        """A tensor, or the region of it that one slice an axis says, in memory of its own on the CPU."""
        import torch

        tensor = self[name]
        bits = tensor.bits(region)
        copied = (
            torch.frombuffer(bytearray(bits.tobytes()), dtype=torch.uint8)
            if bits.size
            else torch.empty(0, dtype=torch.uint8)
        )
        return copied.view(getattr(torch, tensor.dtype)).reshape(bits.shape)

    def __getitem__(self, name: str) -> StoredTensor:
        if name not in self.tensors:
            raise WorkbenchError(f"{self.where} holds no tensor {name!r}; it holds {len(self.tensors)} others")
        return self.tensors[name]

    def __repr__(self) -> str:
        return f"Checkpoint({self.where!r}, {self.format}, {len(self.tensors):,} tensors, {self.elements:,} elements)"
