"""The errors that users see. Imports nothing of the package; everything else may import it.

Every error here is a `ValueError` whose text says what is wrong, where, and how to mend it.
The command line turns them into exit status 2, without a traceback.
"""

from collections.abc import Iterable


class WorkbenchError(ValueError):
    """Bad input of any kind: a pattern, a size, a file, a checkpoint."""


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise `WorkbenchError`, which names the argument and what there is, where a value is none of the choices."""
    known = tuple(choices)
    if value not in known:
        raise WorkbenchError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def check_whole(name: str, value: object, least: int = 1, unit: str = "") -> None:
    """Raise `WorkbenchError`, which names the argument, where a value is no whole number of at least `least`.

    >>> check_whole("sequence_length", 0, unit="token")
    Traceback (most recent call last):
        ...
    workbench.errors.WorkbenchError: sequence_length must be a whole number of at least 1 token, not 0
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise WorkbenchError(f"{name} must be a whole number of at least {least}{unit and f' {unit}'}, not {value!r}")
