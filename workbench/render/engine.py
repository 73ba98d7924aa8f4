"""Graphviz: DOT in, a layout or a file's bytes out.

The library that the wheels of `pygraphviz` bring does the work: nothing has to be installed, `PATH` may be empty, and
no file is written. Where that package is missing, a `dot` of the system does. Both are imported when first needed.
"""

from __future__ import annotations

import ctypes
import io
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from workbench.errors import WorkbenchError

MISSING = (
    "drawing needs Graphviz: `pip install 'pygraphviz>=2.0.4'` brings it along; "
    "or install Graphviz itself, so that `dot` is on PATH"
)
NO_FONT = (
    "a PNG or PDF needs a font, and this machine has none: install one (Debian: apt-get install fonts-dejavu-core), "
    "or write SVG, which is shown with its reader's fonts"
)

_LAYOUTS = ("dot", "neato", "nop2")
# Cairo writes the time into a PDF; another of the same length keeps every offset in the file right.
_DATE = re.compile(rb"/CreationDate \(D:\d{14}")
_NO_DATE = b"/CreationDate (D:20000101000000"
# The bindings hold Python's lock while Graphviz works; its globals must be safe where there is no such lock too.
_lock = threading.Lock()


def draw(dot: str, format: str, layout: str = "dot") -> bytes:
    """Lay a graph out and write it: `format` is one of Graphviz's ("plain", "svg", "png", "pdf"), `layout` an engine.

    The layout `nop2` takes every position as it is given, in points. The same DOT gives the same bytes on the same
    machine; PNG and PDF depend on its fonts. `WorkbenchError` where there is no Graphviz, no font for PNG or PDF,
    or where Graphviz cannot read the DOT.
    """
    assert layout in _LAYOUTS, layout
    if "\0" in dot:
        raise WorkbenchError("Graphviz cannot read DOT that holds a NUL character")
    library = _library()
    with _lock:
        if library is None:
            data = _by_system(dot, format, layout)
        else:
            if _fonts(library) == 0 and format in ("png", "pdf"):
                raise WorkbenchError(NO_FONT)
            data = _by_library(library, dot, format, layout)
    return _DATE.sub(_NO_DATE, data) if format == "pdf" else data


# ------------------------------------------------------------------------------------------ the library


@cache
def _library() -> ModuleType | None:
    """The bindings of `pygraphviz`; None where they are not installed or cannot be loaded."""
    try:
        from pygraphviz import graphviz as library
    except (ImportError, OSError):
        return None
    return library  # type: ignore[no-any-return]


def _by_library(library: Any, dot: str, format: str, layout: str) -> bytes:
    # The first context sets defaults that the parser then knows, such as a node's name for its label: make it first.
    context = library.gvContextWithBuiltins()
    try:
        graph = _parsed(library, dot)
        try:
            if library.gvLayout(context, graph, layout.encode()):
                raise WorkbenchError(f"Graphviz could not lay the graph out with {layout}")
            try:
                found = library.gvRenderData(context, graph, format.encode())
            finally:
                library.gvFreeLayout(context, graph)
        finally:
            library.agclose(graph)
    finally:
        library.gvFreeContext(context)
    # A format that it does not know is the number -1, not a status with the bytes.
    if isinstance(found, int) or found[0]:
        raise WorkbenchError(f"Graphviz cannot write {format}")
    return bytes(found[1])


def _parsed(library: Any, dot: str) -> Any:
    # The parser reads from a file descriptor only; on Linux one that is in memory.
    with _nameless() as file:
        file.write(dot.encode("utf-8", "replace"))
        file.flush()
        file.seek(0)
        try:
            return library.agread(file, None)
        except ValueError as error:
            raise WorkbenchError("Graphviz could not read the DOT") from error


def _nameless() -> io.BufferedRandom:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("dot"), "w+b")
    return tempfile.TemporaryFile()


@cache
def _fonts(library: ModuleType) -> int | None:
    """How many fonts there are; None where that cannot be found out. Asked once, before Graphviz asks itself."""
    found = sorted((Path(library.__file__ or "").parent.parent / "pygraphviz.libs").glob("libfontconfig-*.so*"))
    if not found:
        return None
    try:
        fontconfig = ctypes.CDLL(str(found[0]))
    except OSError:
        return None
    fontconfig.FcConfigGetFonts.restype = ctypes.POINTER(ctypes.c_int)  # an FcFontSet starts with its size
    with _without_lines(b"Fontconfig warning:"):
        fonts = fontconfig.FcConfigGetFonts(None, 0)
    return int(fonts[0]) if fonts else 0


@contextmanager
def _without_lines(start: bytes) -> Iterator[None]:
    """Hold the process's standard error back, and hand it on without the lines that start so.

    The bundled fontconfig is old: it warns of what it does not know in the configuration of newer systems.
    """
    try:
        kept = os.dup(2)
    except OSError:  # a process without a standard error
        yield
        return
    try:
        with _nameless() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                file.seek(0)
                os.write(2, b"".join(line for line in file if not line.startswith(start)))
    finally:
        os.close(kept)


# ------------------------------------------------------------------------------------------- the system


def _by_system(dot: str, format: str, layout: str) -> bytes:
    try:
        import graphviz
    except ImportError as error:
        raise WorkbenchError(MISSING) from error
    engine, no_op = ("neato", 2) if layout == "nop2" else (layout, None)
    try:
        return bytes(graphviz.pipe(engine, format, dot.encode("utf-8", "replace"), neato_no_op=no_op, quiet=True))
    except graphviz.ExecutableNotFound as error:
        raise WorkbenchError(MISSING) from error
    except graphviz.CalledProcessError as error:
        raise WorkbenchError(f"Graphviz could not draw the graph as {format}") from error
