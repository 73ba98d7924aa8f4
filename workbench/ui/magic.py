"""`%%pattern`: a notebook cell whose text is a layer pattern. `%load_ext workbench` brings it."""

from __future__ import annotations

from typing import Any

from workbench.pattern.model import Pattern

USAGE = """%%pattern [--edit] [name]
    The cell's text is a layer pattern, line ends and spaces left out. It is shown, or what is wrong with it.
    name    the variable that gets the Pattern (with --edit, the Editor)
    --edit  open it in the live editor"""


def register(shell: Any) -> None:
    """Give a shell the magic."""
    shell.register_magic_function(lambda line, cell: pattern(shell, line, cell), "cell", "pattern")


def pattern(shell: Any, line: str, cell: str) -> Any:
    """Show the pattern in `cell`; `line` is as `USAGE` says. `PatternError` shows itself as text with carets."""
    from IPython.core.error import UsageError

    words = line.split()
    edit = "--edit" in words
    names = [word for word in words if word != "--edit"]
    if len(names) > 1 or not all(name.isidentifier() for name in names):
        raise UsageError(USAGE)
    text = "".join(cell.split())
    shown: Any
    if edit:
        from workbench.ui.editor import Editor

        shown = Editor(text)
    else:
        shown = Pattern(text)
    for name in names:
        shell.user_ns[name] = shown
    return shown
