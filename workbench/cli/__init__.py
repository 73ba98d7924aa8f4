"""The `workbench` command. `main` is the only place that prints and the only one that turns errors into exit status.

0 fine or equivalent, 1 not equivalent, 2 bad input, 130 interrupted. Neither torch nor megatron is imported before a
command needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from workbench.cli.arguments import parse
from workbench.cli.output import error_json, printable
from workbench.errors import WorkbenchError

BAD_INPUT = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show "×" shows "?" instead of a traceback.
            stream.reconfigure(errors="replace")
    try:
        args = parse(sys.argv[1:] if argv is None else list(argv))
        status = _run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted. Python flushes once more at exit: give it nothing to complain about.
        _drop_stdout()
        return 0
    except OSError as error:
        # Commands report files that they cannot read or write themselves; what is left is a full disk behind `>`.
        _drop_stdout()
        print(f"workbench: error: {error.strerror or error}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError as error:
        print(f"workbench: error: not enough memory: {error or 'for what was asked for'}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("workbench: interrupted", file=sys.stderr)
        return INTERRUPTED


def _drop_stdout() -> None:
    """Send what is still to be written nowhere; a stream that is no file (a notebook's) is left as it is."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(args: object) -> int:
    try:
        return int(args.run(args))  # type: ignore[attr-defined]
    except WorkbenchError as error:
        from workbench.pattern.diagnostics import PatternError

        if getattr(args, "json", False):
            print(error_json(error))
        text = str(error) if isinstance(error, PatternError) else f"workbench: error: {error}"
        print(printable(text), file=sys.stderr)
        return BAD_INPUT
