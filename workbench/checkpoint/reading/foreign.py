"""What a file is that is no checkpoint: said in words, with a way on. Pure.

Each format is known by its first bytes; where they are not unmistakable, the suffix must agree.
"""

from __future__ import annotations

from pathlib import Path

_POINTER = b"version https://git-lfs.github.com/spec/"
# First bytes → what that is, and what to do.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (_POINTER, "it is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"),
    (
        b"GGUF",
        "it is a GGUF file of llama.cpp, which holds quantized weights: give the checkpoint that it was made from",
    ),
    (b"\x93NUMPY", "it is one numpy array (.npy): give a mapping of a name to it"),
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file of Keras: save the weights as safetensors"),
    (b"\x1f\x8b", "it is compressed with gzip: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it first"),
    (b"BZh", "it is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "it is compressed with xz: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive: unpack it first"),
    (b"\x7fELF", "it is a program"),
    (b"%PDF", "it is a PDF document"),
    (b"\x89PNG", "it is a picture"),
)
_TAR_AT, _TAR = 257, b"ustar"


def foreign(head: bytes, path: Path) -> str:
    """One sentence on what a file is; `head` are its first few kilobytes."""
    for magic, sentence in _MAGIC:
        if head.startswith(magic):
            return sentence
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "it is a web page: a login or error page was saved in the file's place"
    if head.startswith(b"PK"):
        if b".npy" in head[:512]:
            return "it is a file of numpy arrays (.npz): give a mapping of names to them"
        return "it is a zip archive, and not one that torch.save wrote"
    if head[_TAR_AT : _TAR_AT + 5] == _TAR:
        return "it is a tar archive: unpack it first (a .nemo file is one)"
    suffix = path.suffix.lower()
    if suffix == ".onnx" or b"\x12\x07pytorch" in head[:64]:
        return "it is an ONNX graph: give the checkpoint that it was made from"
    if suffix in (".pb", ".index", ".tflite") or ".data-0" in path.name or head[4:8] == b"TFL3":
        return "it is a file of TensorFlow: save the weights as safetensors"
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "it is a pickle, and not one that torch.save wrote: save a dictionary of tensors with torch.save or safetensors"
    if not head.strip(b"\0"):
        return "it begins with nothing but zeros: it was not written to its end"
    if _is_text(head):
        return f"it is text, and begins {head[:40].decode('utf-8', 'replace')!r}"
    return f"its first bytes ({head[:8].hex(' ')}) are those of no format that is known here"


def _is_text(head: bytes) -> bool:
    try:
        text = head[:1024].decode("utf-8")
    except UnicodeDecodeError as error:
        # The cut may go through a character.
        if error.start < len(head[:1024]) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n" for character in text)
