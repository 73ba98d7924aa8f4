"""Modules, optimizers and mappings as checkpoints: their own memory under their own names."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor

from workbench.checkpoint.reading.live import open_live
from workbench.checkpoint.reading.live_tensors import DeviceBuffer
from workbench.errors import WorkbenchError


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and torch.equal(left, right)


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


# -- mappings


def test_a_nested_mapping_has_dotted_names():
    mapping = {
        "model": {"a": torch.arange(3), "b": np.ones((2, 2), np.float16), "deep": {"c": torch.tensor(True)}},
        "list": [torch.zeros(1), 5],
        "args": {"lr": 0.1},
        "betas": (0.9, 0.99),
        3: np.float64(2.5),
    }
    opened = open_live(mapping)
    assert opened.format == "mapping"
    assert opened.where == "a mapping of 5 tensors"
    assert opened.names == ("model.a", "model.b", "model.deep.c", "list.0", "3")
    assert same(opened.read("model.b"), torch.ones(2, 2, dtype=torch.float16))
    assert opened.read("3").item() == 2.5
    assert opened.values == {"list.1": 5, "args.lr": 0.1, "betas": (0.9, 0.99)}


def test_names_that_meet_are_refused():
    with pytest.raises(WorkbenchError, match=r"two entries of the mapping are both called a\.b"):
        open_live({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}})


def test_a_mapping_that_holds_itself():
    mapping: dict[str, Any] = {}
    mapping["a"] = mapping
    with pytest.raises(WorkbenchError, match="nested more than 64 deep"):
        open_live(mapping)


@pytest.mark.parametrize("what", [5, "text", None, [torch.ones(1)], torch.ones(1)])
def test_anything_else_is_refused(what):
    with pytest.raises(WorkbenchError, match=f"a {type(what).__name__} is no checkpoint: give a path, a torch module"):
        open_live(what)


def test_arrays_need_no_torch():
    program = (
        "import sys, numpy as np; from workbench.checkpoint.reading.live import open_live; "
        "print(open_live({'a': np.arange(3)}).names, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "('a',) False\n"


# -- memory


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).reshape(3, 4),
        torch.arange(12.0).reshape(3, 4).t(),
        torch.arange(100).reshape(10, 10)[2:5, 1::3],
        torch.arange(3).expand(4, 3),
        torch.arange(24, dtype=torch.int16).reshape(2, 3, 4).permute(2, 0, 1),
        torch.tensor(1.5),
        torch.empty(0, 3),
        torch.empty(3, 0)[1:],
        torch.randn(3, generator=torch.Generator().manual_seed(0)).to(torch.float8_e4m3fn),
        torch.tensor([1 + 2j, 3j]).conj(),
        nn.Parameter(torch.ones(2)),
    ],
)
def test_every_kind_of_tensor(tensor):
    read = open_live({"a": tensor}).read("a")
    assert read.dtype == tensor.dtype
    assert read.shape == tensor.shape
    assert read.resolve_conj().float().equal(tensor.detach().resolve_conj().float()) or same(
        read, tensor.detach().resolve_conj()
    )


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.arange(12).reshape(3, 4).T,
        np.arange(100).reshape(10, 10)[2:5, 1::3],
        np.arange(6)[::-1],
        np.arange(6, dtype=">i4"),
        np.array(3.5),
        np.empty((0, 3)),
        np.array([True, False]),
        np.frombuffer(bytes(range(12)), np.uint32),
        np.zeros(3, [("a", "i4"), ("b", "i2")])["a"],
    ],
)
def test_every_kind_of_array(array):
    opened = open_live({"a": array})
    assert np.array_equal(opened.read("a").numpy(), array.astype(array.dtype.newbyteorder("=")))
    assert opened.shape("a") == array.shape


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([None]), np.zeros(2, "datetime64[s]")])
def test_arrays_of_no_numbers(array):
    with pytest.raises(WorkbenchError, match=r"a is an array of .*, which no checkpoint holds"):
        open_live({"a": array})


def test_nothing_is_copied_and_the_memory_is_kept_alive():
    tensor = torch.arange(6.0).reshape(2, 3)
    turned, array = tensor.t(), np.arange(6.0)
    opened = open_live({"a": tensor, "b": turned, "c": array[2:]})
    assert address(opened["a"].bits()) == address(opened["b"].bits()) == tensor.data_ptr()
    assert address(opened["c"].bits()) == address(array) + 16
    tensor[0, 0] = 9.0
    assert opened.read("b")[0, 0] == 9.0
    assert opened["a"].run is not None
    assert opened["b"].run is None
    del tensor, turned, array
    assert opened.read("a").tolist() == [[9.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    with pytest.raises(ValueError, match="read-only"):
        opened["a"].bits()[0] = 0
    assert np.arange(3).flags.writeable


def test_an_array_stays_writable():
    array = np.arange(4)
    open_live({"a": array})
    array[0] = 7
    assert array.flags.writeable


def test_what_is_read_is_a_copy():
    tensor = torch.zeros(3)
    read = open_live({"a": tensor}).read("a")
    read += 1
    assert tensor.tolist() == [0, 0, 0]


def test_meta_and_fake_tensors_have_names_and_shapes():
    with FakeTensorMode():
        fake = torch.empty(4, 5, dtype=torch.bfloat16)
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    opened = open_live({"fake": fake, "model": model})
    assert opened.shape("fake") == (4, 5)
    assert opened.shape("model.weight") == (2, 3)
    assert opened.elements == 28
    for name in ("fake", "model.weight"):
        with pytest.raises(WorkbenchError, match=f"{name} is on the meta device: it has a shape and no values to read"):
            opened.read(name)


def test_tensors_that_are_more_than_their_bytes_are_refused():
    """Subclasses that compute (quantized ones, pairs) have a memory that holds nothing."""
    with pytest.raises(WorkbenchError, match="a is a TwoTensor, which is more than its bytes: give a plain tensor"):
        open_live({"a": TwoTensor(torch.ones(3), torch.ones(3))})
    with pytest.raises(WorkbenchError, match="a is a nested tensor: give its parts"):
        open_live({"a": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])})
    with pytest.raises(WorkbenchError, match="weight has no shape yet: run the lazy module once"):
        open_live(nn.LazyLinear(3))


def test_freed_memory_is_an_error():
    tensor = torch.ones(8)
    tensor.untyped_storage().resize_(0)
    with pytest.raises(WorkbenchError, match="a has a memory of 0 bytes: it was freed"):
        open_live({"a": tensor})


def test_sparse_tensors_are_refused():
    with pytest.raises(WorkbenchError, match=r"a is a tensor of torch\.float32 in torch\.sparse_coo"):
        open_live({"a": torch.eye(3).to_sparse()})


def test_another_devices_memory_is_copied_as_far_as_it_is_looked_at():
    """The way of a GPU tensor, with a CPU tensor in its place."""
    tensor = torch.arange(12.0).reshape(3, 4).t()
    buffer = DeviceBuffer("a", tensor)
    assert (buffer.where, buffer.size) == ("a", 48)
    assert buffer.view(4, 8).view(np.float32).tolist() == [4.0, 8.0]


@pytest.mark.gpu
def test_a_gpu_tensor():
    tensor = torch.arange(12.0, device="cuda").reshape(3, 4).t()
    opened = open_live({"a": tensor})
    assert same(opened.read("a"), tensor.cpu())
    assert opened.read("a", (slice(1, 2),)).tolist() == [[1.0, 5.0, 9.0]]


# -- modules


class WithState(nn.Linear):
    def __init__(self, state: Any) -> None:
        super().__init__(2, 2)
        self.state = state

    def get_extra_state(self) -> Any:
        return self.state


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_a_module_has_the_names_of_its_state_dict():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    opened = open_live(model)
    assert (opened.format, opened.where) == ("module", "a live Sequential")
    assert opened.names == tuple(model.state_dict())
    assert all(same(opened.read(name), value) for name, value in model.state_dict().items())
    assert opened["0.weight"].bits().__array_interface__["data"][0] == model[0].weight.data_ptr()


def test_wrappers_are_looked_through():
    model = nn.Linear(2, 2)
    assert open_live(Wrapper(Wrapper(model))).names == ("weight", "bias")
    assert open_live(torch.compile(model)).names == ("weight", "bias")
    assert open_live({"model": Wrapper(model)}).names == ("model.weight", "model.bias")


def test_a_child_called_module_is_no_wrappers():
    model = Wrapper(nn.Linear(2, 2))
    model.register_buffer("scale", torch.ones(1))
    assert open_live(model).names == ("scale", "module.weight", "module.bias")


def test_extra_states_are_objects():
    import io

    opened = open_live(
        nn.ModuleList([WithState(torch.tensor([1, 2], dtype=torch.uint8)), WithState(io.BytesIO(b"abc"))])
    )
    assert {name: held.read() for name, held in opened.objects.items()} == {
        "0._extra_state": b"\1\2",
        "1._extra_state": b"abc",
    }
    empty = open_live(nn.ModuleList([WithState(None), WithState(torch.empty(0, dtype=torch.uint8))]))
    assert not empty.objects
    assert empty.notes == ("2 _extra_state entries that hold nothing were left out",)
    with pytest.raises(WorkbenchError, match="_extra_state is a Call, and not bytes"):
        open_live(WithState(Call()))


class Call:
    pass


# -- optimizers


def trained(kind: Any = torch.optim.AdamW) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1, bias=False))
    optimizer = kind(model.parameters(), lr=0.1)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_an_optimizers_states_by_the_names_of_its_weights():
    model, optimizer = trained()
    for opened in (open_live(optimizer, module=Wrapper(model)), open_live({"model": model, "optimizer": optimizer})):
        for name, weight in model.named_parameters():
            for kind in ("exp_avg", "exp_avg_sq", "step"):
                assert same(opened.read(f"optimizer.state.{kind}.{name}"), optimizer.state[weight][kind])
        (group,) = opened.values["optimizer.param_groups"]
        assert (group["lr"], group["params"]) == (0.1, ["0.weight", "0.bias", "1.weight"])


def test_an_optimizers_states_by_number():
    _, optimizer = trained()
    opened = open_live(optimizer)
    assert (opened.format, opened.where) == ("optimizer", "a live AdamW")
    assert opened.names[:4] == tuple(
        f"optimizer.state.{kind}" for kind in ("step.0", "exp_avg.0", "exp_avg_sq.0", "step.1")
    )


def test_an_optimizer_that_has_not_stepped_holds_nothing():
    assert open_live(torch.optim.Adam(nn.Linear(2, 2).parameters())).names == ()


def test_momentum_that_is_not_there():
    model, optimizer = trained(torch.optim.SGD)
    assert open_live(optimizer, module=model).names == ()


def test_states_that_are_cut_over_ranks_are_noted():
    """Megatron's distributed optimizer on one of several ranks: a flat piece of the weight stands for it."""
    weight = nn.Parameter(torch.ones(2, 3))
    piece = weight.detach().view(-1)[:4].clone().requires_grad_()
    inner = torch.optim.Adam([piece])
    piece.grad = torch.ones(4)
    inner.step()
    distributed = SimpleNamespace(optimizer=inner, model_fp32_groups=[[weight]], shard_fp32_groups=[[piece]])
    module = nn.ParameterDict({"a": weight})
    opened = open_live({"module": module, "optimizer": distributed})
    assert opened.shape("optimizer.state.exp_avg.a") == (4,)
    assert opened.notes == ("the optimizer's states of 1 weights are flat pieces: other ranks hold the rest",)
