"""Files from strangers, read as text or JSON: not too large, and every problem says which file it is in. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

MOST_BYTES = 16 * 2**20  # no configuration, script or verdict is larger


@contextmanager
def naming(path: str | Path, kind: type[WorkbenchError] = WorkbenchError) -> Iterator[None]:
    """Whatever goes wrong inside with reading or understanding a file is an error of `kind` that begins with its name."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise kind(f"{path}: not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise kind(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        # Errors of ours, a number of thousands of digits, a thousand nested lists, a NUL in the name.
        raise kind(f"{path}: {error}") from error


def read_bytes(path: str | Path) -> bytes:
    """All of a file; `WorkbenchError` where it is larger than `MOST_BYTES`, `OSError` where it cannot be read."""
    with Path(path).open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise WorkbenchError(f"larger than {MOST_BYTES // 2**20} MiB, which no file of this kind is")
    return data


def read_text(path: str | Path) -> str:
    """A file as UTF-8 text, with or without a byte-order mark; call it inside `naming`."""
    return read_bytes(path).decode("utf-8-sig")


def read_json(path: str | Path) -> Any:
    """What a file of JSON holds; call it inside `naming`."""
    return json.loads(read_text(path))
