"""Megatron's own modules without their memory: every tensor has its shape and dtype, and no bytes.

torch's `FakeTensorMode` runs the code of megatron and torch and follows shapes only, so that the real modules of a
published model, hundreds of gigabytes of weights, are built on a laptop in seconds, and a forward pass of all but experts
can be counted (how many tokens an expert is sent is data, which there is none of).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from megatron.core import parallel_state
from megatron.core.fusions import fused_softmax
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from workbench.arch.architecture import Tensor
from workbench.fusion import runtime


@contextmanager
def weightless() -> Iterator[None]:
    """What is built and run inside has no memory, and nothing of it stays behind in what megatron keeps for later models.

    Starts a single-process runtime when none runs. A model that was built inside runs inside only, and one that was built
    outside does not run in here.
    """
    # Before the mode: what the runtime makes is shared with later models.
    runtime.ensure()
    runtime.forget_models()
    shared = parallel_state.get_global_memory_buffer()
    kept, shared.buffer = shared.buffer, {}
    _forget_masks()
    try:
        with FakeTensorMode():
            yield
    finally:
        shared.buffer = kept
        _forget_masks()
        runtime.forget_models()


def built_tensors(model: nn.Module) -> tuple[Tensor, ...]:
    """Every tensor of a model's `state_dict()` as `Architecture.built` predicts them, in the model's order."""
    trained = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return tuple(
        Tensor(name, tuple(entry.shape), str(entry.dtype).removeprefix("torch."), name in trained)
        # The extra states of Transformer Engine modules hold no weights, and those of local modules are None.
        for name, entry in model.state_dict().items()
        if not name.endswith("._extra_state")
    )


# ------------------------------------------------------------------------------------------------------


def _forget_masks() -> None:
    """Masks are kept by length."""
    forget = getattr(fused_softmax.get_default_causal_mask, "cache_clear", None)
    if forget is not None:
        forget()
