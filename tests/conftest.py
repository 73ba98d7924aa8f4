"""What every test shares: skips that say why, golden files, and one thread for arithmetic.

Nothing here imports torch before a test asks for it, so the tests of the pure packages stay quick.
"""

import difflib
import importlib
import importlib.metadata
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

# Sizes here are small and cores few: threads only wait for each other. The processes that tests start inherit it.
# The environment comes first, since torch reads it when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]  # for the tests of this file

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ instead of comparing with it")


def pytest_report_header() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in ("torch", "megatron-core"))


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"


@pytest.hookimpl(tryfirst=True)  # before a test's own skipif, which would hide a browser that CI requires
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, missing in MISSING.items():
        if item.get_closest_marker(marker) is None:
            continue
        reason = missing()
        if reason is None:
            continue
        if marker == "browser" and os.environ.get("WORKBENCH_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}, and WORKBENCH_REQUIRE_BROWSER=1 requires one", pytrace=False)
        pytest.skip(reason)


@cache
def _no_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no CUDA device"


@cache
def _no_te() -> str | None:
    """Transformer Engine is imported, not looked for: a build for another torch or CUDA is there and does not load."""
    if _no_gpu() is not None:
        return "transformer-engine runs on a CUDA device, and there is none"
    try:
        importlib.import_module("transformer_engine.pytorch")
    except (ImportError, OSError, RuntimeError) as error:
        return f"transformer-engine does not import: {error}"
    return None


def _no_browser() -> str | None:
    if any(shutil.which(name) for name in BROWSERS):
        return None
    return f"no browser on PATH: {', '.join(BROWSERS)}"


MISSING: dict[str, Callable[[], str | None]] = {"gpu": _no_gpu, "te": _no_te, "browser": _no_browser}


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` compares a text with tests/golden/<name>; `--update-golden` writes the file instead."""
    folder = Path(__file__).resolve().parent / "golden"
    update = request.config.getoption("--update-golden")

    def compare(name: str, text: str) -> None:
        path = (folder / name).resolve()
        assert path.is_relative_to(folder), f"{name} is outside tests/golden/"
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        if not path.is_file():
            pytest.fail(f"tests/golden/{name} is missing; write it with --update-golden", pytrace=False)
        expected = path.read_bytes().decode()
        if text != expected:
            pytest.fail(_difference(name, expected, text), pytrace=False)

    return compare


def _difference(name: str, expected: str, text: str) -> str:
    # Only \n ends a line here: a stray \r or form feed must show as a difference, not vanish into a line end.
    lines = difflib.unified_diff(
        expected.split("\n"), text.split("\n"), f"tests/golden/{name}", "what the test made", lineterm=""
    )
    return "\n".join([*lines, "if the new text is right: --update-golden"])
