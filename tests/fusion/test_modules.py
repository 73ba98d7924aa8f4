"""The rows of built modules: upstream's classes, and which slots are filled, empty or not there."""

from workbench.fusion.model import build_model
from workbench.fusion.modules import BuiltModule, built_modules
from workbench.fusion.trainer import make_trainer

FUSED = (
    BuiltModule("decoder.layers.0", "M", 1, "MambaLayer", "MambaMixer", None),
    BuiltModule("decoder.layers.1", "[*-]", 2, "TransformerLayer", "SelfAttention", "MLP"),
    BuiltModule("decoder.layers.2", "[ME]", 4, "MoETransformerLayer", "MambaMixerAsAttention", "MoELayer"),
)
UNFUSED = (
    BuiltModule("decoder.layers.0", "M", 1, "MambaLayer", "MambaMixer", None),
    BuiltModule("decoder.layers.1", "*", 2, "TransformerLayer", "SelfAttention", "IdentityOp"),
    BuiltModule("decoder.layers.2", "-", 3, "MLPLayer", "IdentityOp", "MLP"),
    BuiltModule("decoder.layers.3", "M", 4, "MambaLayer", "MambaMixer", None),
    BuiltModule("decoder.layers.4", "E", 5, "MoETransformerLayer", "IdentityOp", "MoELayer"),
)


def test_fused_model_fills_both_slots():
    assert built_modules(build_model("M[*-][ME]", seed=1)) == FUSED


def test_unfused_model_carries_empty_slots():
    assert built_modules(build_model("M*-ME", seed=1)) == UNFUSED


def test_wrappers_are_looked_through():
    assert built_modules(make_trainer(build_model("M[*-][ME]", seed=1)).model) == FUSED


def test_mtp_depths_are_among_them():
    rows = built_modules(build_model("M/[*-]/[*-]", seed=1))
    assert [row.block for row in rows] == ["M", "[*-]", "[*-]"]
    assert all(row.name.startswith("mtp.") for row in rows[1:])
