"""Any names at all: nothing is dropped, nothing is raised, and nothing takes long."""

from __future__ import annotations

import string
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint.layouts.test_layouts_damaged import check_nothing_dropped, names
from workbench.arch.architecture import Tensor
from workbench.checkpoint.layouts import arranged, finding, layout_of
from workbench.checkpoint.predicted import predicted
from workbench.errors import WorkbenchError

WORDS = st.sampled_from(
    ["model", "module", "model0", "model1", "decoder", "layers", "mtp", "mtp_model_layer", "transformer_layer", "0", "1", "7",
     "01", "-1", "999999999", "9999999999", "٣", "mixer", "norm", "self_attention", "input_layernorm", "mlp", "experts",
     "local_experts", "router", "linear_fc1", "linear_qkv", "linear_qkv_down_proj", "linear_q_up_proj", "linear_kv_up_proj",
     "in_proj", "conv1d", "A_log", "out_norm", "z", "x", "weight", "weight0", "bias", "layer_norm_weight", "optimizer", "optim",
     "state", "exp_avg", "step", "chained_0", "embedding", "output_layer", "final_norm", "final_layernorm", "_extra_state", "",
     "<script>", "\n"],
)  # fmt: skip
NAMES = st.lists(WORDS, min_size=1, max_size=9).map(".".join) | st.text(string.printable, max_size=12)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 5]), max_size=4).map(tuple)


@given(st.dictionaries(NAMES, SHAPES, max_size=12), st.booleans())
def test_any_names_at_all(entries: dict[str, tuple[int, ...]], damaged: bool) -> None:
    """Nothing raises, nothing is dropped; what can be arranged comes back as it was, or says why not."""
    tensors = [Tensor(name, shape, "float32") for name, shape in entries.items()]
    if damaged:
        tensors += [entry for entry in names("[M-]/[*-]") if entry.name not in entries]
    layout = check_nothing_dropped(tensors)
    for to in ("canonical", "fused"):
        with suppress(WorkbenchError):
            arranged(layout, to, form="distributed")


@settings(deadline=None)
@given(st.sets(st.integers(0, 60), max_size=20), st.sampled_from(["te", "local"]))
def test_any_part_of_a_model(lost: set[int], backend: str) -> None:
    tensors = names("M[*-][GE]/[*-]", backend)
    check_nothing_dropped([entry for place, entry in enumerate(tensors) if place not in lost])


JOINT = "decoder.layers.0.self_attention.linear_qkv_down_proj.weight"
HOSTILE: dict[str, Callable[[int], list[str]]] = {
    "one long name": lambda size: [f"{'model.' * size}x", "decoder.layers." * size, "optimizer.state." * size],
    "a state a name": lambda size: [f"optimizer.state.s{i}.{JOINT}" for i in range(size)],
    "a layer a name": lambda size: [f"decoder.layers.{i}.strange" for i in range(size)],
    "a depth a name": lambda size: [f"mtp.layers.{i}.mtp_model_layer.layers.{i}.mlp.router.weight" for i in range(size)],
    "a chunk a name": lambda size: [f"model{i}.decoder.layers.0.mlp.router.weight" for i in range(size)],
    "one layer": lambda size: [f"decoder.layers.0.mlp.experts.local_experts.{i}.linear_fc1.weight" for i in range(size)],
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_many_strange_names_end(kind: str) -> None:
    """Ten thousand of what would be slow if anything here were quadratic; reasons stay readable."""
    layout = layout_of(predicted([Tensor(name, (2, 2), "float32") for name in HOSTILE[kind](10_000)]))
    assert len(layout.reasons) <= 41


def test_axes_are_taken_apart_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand short names can claim a thousand times 65,536 experts, or layers."""
    monkeypatch.setattr(finding, "MOST_ENTRIES", 1000)
    experts = [
        Tensor(f"decoder.layers.{layer}.mlp.experts.experts.linear_fc1.weight", (300, 0, 0), "float32")
        for layer in range(5)
    ]
    layout = check_nothing_dropped(experts)
    assert (len(layout.canonical), len(layout.unknown)) == (3 * 300 + 2, 2)
    assert any("some keep their names" in reason for reason in layout.reasons)
    layers = [Tensor(f"decoder.layers.mlp.linear_fc1.x{number}", (300, 0), "float32") for number in range(5)]
    assert len(layout_of(predicted(layers)).canonical) == len(layers)
