"""`config.json` files and the folders that hold them; what is wrong with a file is said with its name."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from workbench.arch.hugging_face import from_hugging_face, from_hugging_face_file
from workbench.errors import WorkbenchError


def test_files_and_folders(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "llama"}))
    found = from_hugging_face({"model_type": "llama"})
    assert from_hugging_face_file(path) == from_hugging_face_file(str(tmp_path)) == found
    path.write_bytes(b'\xef\xbb\xbf{"model_type": "llama"}')
    assert from_hugging_face_file(path) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"{", "line 1, column 2: Expecting property name enclosed in double quotes"),
        (b"\xff", "not UTF-8 text"),
        (b"[]", "a configuration must be an object, not []"),
        (b'{"model_type": "llama", "vocab_size": -1}', "vocab_size must be a whole number of at least 1, not -1"),
        (
            b'{"model_type": "llama", "head_dim": 15}',
            "position_embedding 'rope' rotates 15 of head_dim 15: it must be an even number",
        ),
    ],
)
def test_files_that_are_wrong(tmp_path, content, said):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WorkbenchError) as caught:
        from_hugging_face_file(path)
    assert str(caught.value) == f"{path}: {said}"


def test_files_that_are_wrong_and_large(tmp_path):
    path = tmp_path / "config.json"
    for content, said in (
        (b"[" * 200_000, "recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b" " * (16 * 2**20 + 1), "larger than 16 MiB, which no file of this kind is"),
    ):
        path.write_bytes(content)
        with pytest.raises(WorkbenchError) as caught:
            from_hugging_face_file(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert said in str(caught.value)


def test_the_folder_without_a_configuration_is_named(tmp_path):
    with pytest.raises(WorkbenchError) as caught:
        from_hugging_face_file(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'config.json'}: No such file or directory"


def test_no_framework_is_reached():
    program = (
        "import sys\n"
        "import workbench.arch.hugging_face\n"
        "assert not {'torch', 'numpy', 'megatron', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
