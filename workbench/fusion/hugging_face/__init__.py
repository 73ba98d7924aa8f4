"""Hugging Face weights in Megatron's modules, fused or not: the same function, checked against transformers itself.

`rules` says which tensors make up which, `arranging` how, `expressed` what a configuration asks of Megatron and what
Megatron cannot do, and `load` builds and fills the model. No transformers import.
"""

from workbench.fusion.hugging_face.load import from_hugging_face, load_hugging_face
from workbench.fusion.hugging_face.reading import HuggingFaceWeights, read_hugging_face
from workbench.fusion.hugging_face.rules import FAMILIES

__all__ = ["FAMILIES", "HuggingFaceWeights", "from_hugging_face", "load_hugging_face", "read_hugging_face"]
