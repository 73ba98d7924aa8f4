"""Reading what a stranger wrote: the file's name is in every error, and no file is too much."""

from __future__ import annotations

import pytest

from workbench.arch.reading import MOST_BYTES, naming, read_json, read_text
from workbench.arch.sizes import SizesError
from workbench.errors import WorkbenchError

BROKEN = {
    "not text": (b"\xff\xfe\x00", "not UTF-8 text"),
    "not JSON": (b'{"a": 1,\n}', "line 2, column 1: "),
    "nested": (b"[" * 100_000, ""),
    "a long number": (b"1" * 10_000, "Exceeds the limit"),
    "too large": (b" " * (MOST_BYTES + 1), "larger than 16 MiB"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("kind", [WorkbenchError, SizesError])
def test_errors_begin_with_the_name(tmp_path, case, kind):
    data, said = BROKEN[case]
    path = tmp_path / "file.json"
    path.write_bytes(data)
    with pytest.raises(kind) as caught, naming(path, kind):
        read_json(path)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("name", ["none.json", ".", "a\0b"])
def test_what_cannot_be_opened(tmp_path, name):
    with pytest.raises(WorkbenchError), naming(tmp_path / name):
        read_text(tmp_path / name)


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "file.json").write_bytes(b'\xef\xbb\xbf{"a": [1, null]}')
    assert read_json(tmp_path / "file.json") == {"a": [1, None]}
