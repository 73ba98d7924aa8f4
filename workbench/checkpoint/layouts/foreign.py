"""Names that are no megatron model's: a transformers model's own, or those of something unknown. Pure."""

from __future__ import annotations

import re

from workbench.checkpoint.layout import Layout, Named
from workbench.checkpoint.source import Checkpoint

# Where transformers keeps a decoder's layers: `model.layers.3.`, `backbone.layers.3.`, `model.decoder.layers.3.`.
_TRANSFORMERS = re.compile(
    r"(?:model|backbone|transformer|language_model)\.(?:model\.|language_model\.|text_model\.|decoder\.|encoder\.){0,3}"
    r"(?:layers|h|blocks)\.[0-9]{1,9}\..*",
    re.DOTALL,
)


def foreign(checkpoint: Checkpoint) -> Layout:
    """The layout of a checkpoint without a single name of a megatron model: every name is kept."""
    canonical = {name: Named(tensor, (name,)) for name, tensor in checkpoint.tensors.items()}
    if any(_TRANSFORMERS.fullmatch(name) for name in canonical):
        reason = "the layers are named as a transformers model names them (model.layers.0., backbone.layers.0.)"
        return Layout("hugging_face", "state_dict", None, None, canonical, (), (reason,))
    if checkpoint.format == "hugging_face":
        reason = "it is a transformers model's folder, and its names are of no decoder's layers"
        return Layout("hugging_face", "state_dict", None, None, canonical, (), (reason,))
    reason = "no name is of a hybrid, GPT or transformers model" if canonical else "it holds no tensor"
    return Layout("other", "state_dict", None, None, canonical, tuple(canonical), (reason,))
