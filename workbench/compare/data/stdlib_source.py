"""The Python standard library's own source as training text: megabytes that are on every machine, without a download.

The split is by file: a file is test text when the hash of its path inside the library says so, so the split is the same
on every machine with the same Python, whatever the order of its folders.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
from pathlib import Path

from workbench.compare.data.text import SEPARATOR, TextData, joined, read
from workbench.errors import WorkbenchError

# Packages that some distributions leave out or ship apart, so that they are on one machine and not on the next.
_OPTIONAL = frozenset(
    {"ensurepip", "idlelib", "lib2to3", "tkinter", "turtle", "turtledemo", "test", "tests", "idle_test"}
)
# A hundred files of `encodings` are the same tables with a few lines changed: a split by file would not part them.
_REPEATED = frozenset({"encodings"})
# One file in this many is test text.
_TEST_SHARE = 12


def stdlib_text(*, sequence: int, seed: int, folder: Path | None = None) -> TextData:
    """The library of the running Python, or of a `folder` that is laid out like one.

    Raises `WorkbenchError` where its source is not there as files (a Python that keeps it in a zip archive).
    """
    root = folder or Path(sysconfig.get_path("stdlib"))
    train: list[bytes] = []
    test: list[bytes] = []
    for path in source_files(root):
        text = read(root / path).replace(b"\r\n", b"\n").strip(SEPARATOR)
        if text and SEPARATOR not in text:
            (test if is_test_file(path) else train).append(text)
    if not train or not test:
        raise WorkbenchError(
            f"{root}: this Python keeps no source files of its standard library there; train on a text file of your own instead"
        )
    source = {"python": platform.python_version(), "files": len(train) + len(test), "test_files": len(test)}
    return TextData("stdlib", joined(train), joined(test), sequence, seed, source)


def source_files(root: Path) -> list[str]:
    """Paths inside the library ("json/decoder.py"), sorted: of the modules that every Python of this version names and ships."""
    wanted = sys.stdlib_module_names - _OPTIONAL - _REPEATED
    # Only what is wanted is walked: `site-packages` may lie in the same folder and be huge.
    found = [root / f"{name}.py" for name in wanted if (root / f"{name}.py").is_file()]
    found += [path for name in wanted for path in (root / name).rglob("*.py")]
    inside = (path.relative_to(root) for path in found)
    return sorted(path.as_posix() for path in inside if not _OPTIONAL.intersection(path.parts))


def is_test_file(path: str) -> bool:
    """Whether a file belongs to the test split; of its path inside the library alone.

    >>> is_test_file("json/scanner.py"), is_test_file("heapq.py")
    (True, False)
    """
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8]) % _TEST_SHARE == 0
