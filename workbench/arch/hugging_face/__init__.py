"""A Hugging Face `config.json`, read as data, becomes a pattern and sizes; no transformers import. Pure.

`config` reads fields of a stranger's file, `defaults` has what real files leave out, `parts` reads what families share,
`remarks` says what has no place in a pattern and sizes, `attention`, `latent` and `hybrid` hold one function a family,
and `convert` chooses among them.
"""

from workbench.arch.hugging_face.convert import FAMILIES, Converted, from_hugging_face, from_hugging_face_file

__all__ = ["FAMILIES", "Converted", "from_hugging_face", "from_hugging_face_file"]
