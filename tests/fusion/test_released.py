"""Provenance of classes: upstream's are the released bytes, ours are not upstream's, and a changed file is noticed."""

from importlib.metadata import version
from pathlib import Path

from megatron.core.transformer.transformer_layer import TransformerLayer

from workbench.fusion.adapters import MambaMixerAsAttention
from workbench.fusion.released import Source, source_of


def test_upstream_class_is_as_released():
    release = f"megatron-core {version('megatron-core')}"
    module = "megatron.core.transformer.transformer_layer"
    assert source_of(TransformerLayer) == Source("TransformerLayer", module, release, True)


def test_our_class_is_not_upstreams():
    found = source_of(MambaMixerAsAttention)
    assert (found.module, found.release, found.unchanged) == ("workbench.fusion.adapters", None, None)


def test_builtin_class_has_no_file():
    assert source_of(int) == Source("int", "builtins", None, None)


def test_changed_file_is_noticed(monkeypatch):
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + b"\n")
    assert source_of(TransformerLayer).unchanged is False
