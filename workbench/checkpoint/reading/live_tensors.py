"""A live tensor or array as a `StoredTensor` over its own memory. Imports torch only where it was given a tensor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.dtypes import DTYPES, Array
from workbench.checkpoint.tensors import Piece, StoredTensor, contiguous, row_major
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import torch


def of_array(name: str, array: Array) -> StoredTensor:
    """A numpy array, in place where its strides go forward in whole elements, copied otherwise."""
    dtype = array.dtype.name
    if array.dtype.hasobject or dtype not in DTYPES:
        raise WorkbenchError(f"{name} is an array of {dtype}, which no checkpoint holds")
    width = array.dtype.itemsize
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 or stride % width for stride in array.strides):
        array = np.ascontiguousarray(array)
    strides = tuple(stride // width for stride in array.strides)
    return _strided(name, _memory(array, array.shape, strides), array.shape, dtype, strides)


def of_tensor(name: str, tensor: Any) -> StoredTensor:
    """A torch tensor: CPU memory in place, another device's when it is looked at; without values (meta, fake) only its shape."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensor

    if torch.nn.parameter.is_lazy(tensor):
        raise WorkbenchError(f"{name} has no shape yet: run the lazy module once")
    tensor = _local(name, tensor.detach())
    if not isinstance(tensor, FakeTensor) and type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise WorkbenchError(f"{name} is a {type(tensor).__name__}, which is more than its bytes: give a plain tensor")
    if tensor.is_nested:
        raise WorkbenchError(f"{name} is a nested tensor: give its parts")
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or dtype not in DTYPES:
        raise WorkbenchError(f"{name} is a tensor of {tensor.dtype} in {tensor.layout}, which no checkpoint holds")
    tensor = tensor.resolve_conj().resolve_neg()
    shape, strides = tuple(tensor.shape), tuple(tensor.stride())
    if tensor.is_meta or isinstance(tensor, FakeTensor):
        return contiguous(NoValues(name, tensor.nbytes), 0, shape, dtype)
    if tensor.device.type != "cpu":
        return contiguous(DeviceBuffer(name, tensor), 0, shape, dtype)
    storage = tensor.untyped_storage()
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
    start = tensor.storage_offset() * tensor.itemsize
    if tensor.numel() and start + reach * tensor.itemsize > storage.nbytes():
        raise WorkbenchError(
            f"{name} has a memory of {storage.nbytes()} bytes: it was freed, as FSDP and offloading do"
        )
    memory = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    return _strided(name, memory, shape, dtype, strides, start)


class NoValues:
    """Stands for the memory of a tensor that has none."""

    def __init__(self, name: str, size: int) -> None:
        self.where, self.size = name, size

    def view(self, start: int, length: int) -> Array:
        """Always a `WorkbenchError`: there is nothing to look at."""
        raise WorkbenchError(f"{self.where} is on the meta device: it has a shape and no values to read")


class DeviceBuffer:
    """The memory of a tensor on another device; what is looked at is copied, and nothing is kept."""

    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        self.where, self._tensor = name, tensor

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self._tensor.nbytes)

    def view(self, start: int, length: int) -> Array:
        """`length` bytes from `start` on, in row-major order, copied from the device."""
        import torch

        flat = self._tensor.contiguous().reshape(-1).view(torch.uint8)
        return flat[start : start + length].cpu().numpy()


# ------------------------------------------------------------------------------------------------------


def _local(name: str, tensor: Any) -> Any:
    """A distributed tensor's own memory, where one process holds all of it."""
    if not hasattr(tensor, "placements"):
        return tensor
    local = tensor.to_local()
    if local.shape != tensor.shape:
        raise WorkbenchError(
            f"{name} is {list(tensor.shape)} over several ranks, and this one holds {list(local.shape)} of it: save a "
            "checkpoint, and open that"
        )
    return local


def _memory(array: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """The elements that an array reaches over, as a flat uint8 view of its memory."""
    if 0 in shape:
        return np.empty(0, np.uint8)
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
    return as_strided(array, (reach,), (array.dtype.itemsize,), writeable=False).view(np.uint8)


def _strided(
    name: str, memory: Array, shape: tuple[int, ...], dtype: str, strides: tuple[int, ...], start: int = 0
) -> StoredTensor:
    memory.flags.writeable = False
    if math.prod(shape) == 0:
        start, strides = 0, row_major(shape)
    return StoredTensor(shape, dtype, (Piece(MemoryBuffer(memory, name), start, (0,) * len(shape), shape, strides),))
