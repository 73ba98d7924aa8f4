"""The globals that `torch.save` writes, and what each is taken to mean: a tensor becomes the place of its bytes. numpy only.

Everything here is an `Inert` (see `pickles`): a pickle can make one and no more. What a tensor's constructor is given is
checked when it is made: the bytes must lie in the storage that it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from workbench.checkpoint.buffers import Buffer
from workbench.checkpoint.dtypes import DTYPES, dtype_of
from workbench.checkpoint.reading.pickled_numpy import NUMPY
from workbench.checkpoint.reading.pickles import PLAIN, Inert, Origin, name_of, shown
from workbench.checkpoint.tensors import Piece, StoredTensor, bytes_of
from workbench.errors import WorkbenchError

# A tensor may repeat its bytes (`expand`, sliding windows); beyond this it is no longer a checkpoint's.
_MOST_REPEATED = 2**30
_WHOLE = {int}

_STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Bool": "bool",
    "Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64",
    "ComplexFloat": "complex64", "ComplexDouble": "complex128", "QInt8": "int8", "QUInt8": "uint8", "QInt32": "int32",
    "Untyped": "uint8",
}  # fmt: skip


class Storage(Inert):
    """A run of bytes that tensors are views of: (buffer, first byte, bytes, dtype). The file's reader makes it, no pickle."""

    __slots__ = ()

    @property
    def dtype(self) -> str:
        """Element type of the storage."""
        return str(self.arguments[3])


class Leaf(Inert):
    """A tensor: `arguments` is the `StoredTensor`, which no opcode of a pickle reaches."""

    __slots__ = ()

    @property
    def tensor(self) -> StoredTensor:
        """The tensor."""
        found: StoredTensor = self.arguments[0]
        return found


class TensorV2(Inert):
    """`torch._utils._rebuild_tensor_v2` (and its older form): a view of a storage, of the storage's type."""

    __slots__ = ()

    def __new__(cls, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
        """A `Leaf`."""
        if not isinstance(storage, Storage):
            raise WorkbenchError("a tensor in it has no storage")
        _check_bits(rest[2] if len(rest) > 2 else None)
        return _leaf(storage, offset, size, stride, storage.dtype)


class TensorV3(Inert):
    """`torch._utils._rebuild_tensor_v3`: the same, and the type is said (float8, uint16, …)."""

    __slots__ = ()

    def __new__(
        cls, storage: Any, offset: Any, size: Any, stride: Any, _gradient: Any, _hooks: Any, dtype: Any, *rest: Any
    ) -> Any:
        """A `Leaf`."""
        if not isinstance(storage, Storage):
            raise WorkbenchError("a tensor in it has no storage")
        _check_bits(rest[0] if rest else None)
        return _leaf(storage, offset, size, stride, dtype_name(dtype))


class Parameter(Inert):
    """`torch._utils._rebuild_parameter` and its like: the tensor inside."""

    __slots__ = ()

    def __new__(cls, data: Any, *_rest: Any) -> Any:
        """The `Leaf` that it was given."""
        if not isinstance(data, Leaf):
            raise WorkbenchError("a parameter in it holds no tensor")
        return data


class FromType(Inert):
    """`torch._tensor._rebuild_from_type_v2`: a subclass of Tensor. Only those that are plain tensors in all but name."""

    __slots__ = ()

    def __new__(cls, function: Any, kind: Any, arguments: Any, *_state: Any) -> Any:
        """What `function`, itself one of the stand-ins here, makes of its arguments."""
        if name_of(kind) not in _PLAIN_SUBCLASSES:
            raise WorkbenchError(f"it holds a {shown(kind)}, which is more than its bytes: save a plain tensor")
        if not (isinstance(function, type) and issubclass(function, _REBUILT)) or not isinstance(arguments, tuple):
            raise WorkbenchError("a tensor in it is made in a way that torch.save does not write")
        return function(*arguments)


class Size(Inert):
    """`torch.Size`: a tuple of whole numbers."""

    __slots__ = ()

    def __new__(cls, sizes: Any = ()) -> Any:
        """The tuple."""
        return whole_numbers("size", list(sizes) if isinstance(sizes, list | tuple) else sizes)


_REBUILT = (TensorV2, TensorV3, Parameter)
_PLAIN_SUBCLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")


def _refusing(sentence: str) -> type[Inert]:
    class Refused(Inert):
        __slots__ = ()

        def __new__(cls, *_arguments: Any) -> Any:
            raise WorkbenchError(sentence)

    made: type[Inert] = Refused
    return made


_SPARSE = _refusing("it holds a sparse tensor, which is not a box of bytes: save its dense form")
_QUANTIZED = _refusing(
    "it holds a quantized tensor of torch's own kind, whose bytes are no numbers: save its dequantized form"
)
_NESTED = _refusing("it holds a nested tensor: save its parts")
_EMPTY = _refusing("it holds a tensor on the meta device, which has a shape and no values")
_WRAPPED = _refusing(
    "it holds a tensor that is made of others (DTensor, a quantized or fake one): save the plain tensor"
)

MEANINGS: Mapping[Origin, type[Inert]] = {
    **PLAIN,
    **NUMPY,
    ("torch._utils", "_rebuild_tensor"): TensorV2,
    ("torch._utils", "_rebuild_tensor_v2"): TensorV2,
    ("torch._utils", "_rebuild_tensor_v3"): TensorV3,
    ("torch._utils", "_rebuild_parameter"): Parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): Parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): FromType,
    ("torch.nn.parameter", "Parameter"): Parameter,
    ("torch", "Size"): Size,
    ("torch._utils", "_rebuild_sparse_tensor"): _SPARSE,
    ("torch._utils", "_rebuild_sparse_csr_tensor"): _SPARSE,
    ("torch._utils", "_rebuild_qtensor"): _QUANTIZED,
    ("torch._utils", "_rebuild_nested_tensor"): _NESTED,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _EMPTY,
    ("torch._utils", "_rebuild_wrapper_subclass"): _WRAPPED,
}

_MEGATRON = {
    "megatron.core.enums": ("ModelType", "Fp8Recipe", "Fp4Recipe"),
    "megatron.core.transformer.enums": (
        "AttnBackend", "AttnMaskType", "AttnType", "CudaGraphModule", "CudaGraphScope", "InferenceCudaGraphScope",
        "LayerType", "ModelType",
    ),
    "megatron.core.rerun_state_machine": ("RerunDiagnostic", "RerunMode", "RerunState"),
    "megatron.core.optimizer.optimizer_config": ("OptimizerConfig",),
    "megatron.core.optimizer": ("OptimizerConfig",),
    "megatron.model.enums": ("ModelType", "AttnMaskType", "AttnType", "LayerType"),
    "megatron.enums": ("ModelType", "AttnMaskType", "AttnType", "LayerType", "PositionEmbeddingType"),
}  # fmt: skip

# Globals that stay what they are: a name, and what it was given.
ALLOWED: frozenset[Origin] = frozenset(
    {
        *(("torch", name) for name in DTYPES),
        *(("torch", f"{name}Storage") for name in _STORAGES),
        *(("torch.cuda", f"{name}Storage") for name in _STORAGES),
        *(("torch.storage", name) for name in ("UntypedStorage", "TypedStorage", "_UntypedStorage", "_TypedStorage")),
        *(("torch", name) for name in ("Tensor", "device", "per_tensor_affine", "per_channel_affine")),
        ("torch.serialization", "_get_layout"),
        ("torch.nn.parameter", "Buffer"),
        ("torch.distributed.tensor", "DTensor"),
        ("torch.distributed._tensor.api", "DTensor"),
        ("argparse", "Namespace"),
        ("types", "SimpleNamespace"),
        ("pathlib", "PosixPath"),
        ("pathlib._local", "PosixPath"),
        ("signal", "Signals"),
        ("_io", "BytesIO"),
        ("io", "BytesIO"),
        *((module, "complex") for module in ("builtins", "__builtin__")),
        *((module, name) for module, names in _MEGATRON.items() for name in names),
    }
)


def storage(data: Buffer, start: int, length: int, dtype: str) -> Storage:
    """A storage for the pickle to be given."""
    made: Storage = Storage(data, start, length, dtype)
    return made


def storage_dtype(kind: Any) -> str:
    """The element type of the storage that a persistent id names by its class ("torch.FloatStorage")."""
    found = _storage_dtype(name_of(kind) or "")
    if found is None:
        raise WorkbenchError(f"it has a storage of type {shown(kind)}, which is none of torch's")
    return found


@lru_cache
def _storage_dtype(name: str) -> str | None:
    return _STORAGES.get(name.rpartition(".")[2].removeprefix("_").removesuffix("Storage"))


def dtype_name(value: Any) -> str:
    """ "bfloat16" for what stands for `torch.bfloat16`."""
    name = name_of(value) or ""
    if not name.startswith("torch."):
        raise WorkbenchError(f"it gives a tensor the type {shown(value)}, which is none of torch's")
    return dtype_of(name.removeprefix("torch.")).name


def whole_numbers(what: str, values: Any) -> tuple[int, ...]:
    """A tuple of them, none negative."""
    if (
        not isinstance(values, list | tuple)
        or not set(map(type, values)) <= _WHOLE
        or (values and (min(values) < 0 or max(values) >= 2**63))
    ):
        raise WorkbenchError(f"a tensor in it has a {what} that is not made of whole numbers of 0 and more")
    return tuple(values)


# ------------------------------------------------------------------------------------------------------


def _check_bits(metadata: Any) -> None:
    """A conjugated or negated view: its bytes are not its values."""
    if isinstance(metadata, dict) and any(metadata.get(name) for name in ("conj", "neg")):
        raise WorkbenchError(
            "it holds a tensor that is the conjugate or negative of its bytes: save its resolve_conj()"
        )


def _leaf(storage: Storage, offset: Any, size: Any, stride: Any, dtype: str) -> Leaf:
    data, start, length, _ = storage.arguments
    item = dtype_of(dtype).bytes
    together = isinstance(size, list | tuple) and isinstance(stride, list | tuple)
    first, *numbers = whole_numbers("size, stride or offset", [offset, *size, *stride] if together else None)
    if len(size) != len(stride):
        raise WorkbenchError(f"a tensor in it has {len(size)} axes and {len(stride)} strides")
    shape, strides = tuple(numbers[: len(size)]), tuple(numbers[len(size) :])
    nbytes = bytes_of(shape, dtype)
    if 0 in shape:
        first = 0
    else:
        reach = first + sum((count - 1) * step for count, step in zip(shape, strides, strict=True)) + 1
        if reach * item > length:
            raise WorkbenchError(
                f"a tensor of {list(shape)} {dtype} needs {reach * item} bytes of a storage that has {length}"
            )
    if nbytes > max(length, _MOST_REPEATED):
        raise WorkbenchError(f"a tensor of {list(shape)} {dtype} is made of {length} bytes again and again: too large")
    piece = Piece(data, start + first * item, (0,) * len(shape), shape, strides)
    made: Leaf = Leaf(StoredTensor(shape, dtype, (piece,)))
    return made
