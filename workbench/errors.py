"""The errors that users see. Imports nothing; everything else may import it.

Every error here is a `ValueError` whose text says what is wrong, where, and how to mend it.
The command line turns them into exit status 2, without a traceback.
"""


class WorkbenchError(ValueError):
    """Bad input of any kind: a pattern, a size, a file, a checkpoint."""
