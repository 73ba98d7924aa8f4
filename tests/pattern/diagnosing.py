"""What every table of mistakes asks of each of them."""

from workbench.pattern.checks import check
from workbench.pattern.diagnostics import render


def assert_one_diagnostic(text: str, fixed: str | None, expected: str) -> None:
    """`text` has one mistake, told as `expected`; its fix gives `fixed` (None: it has none), where it is no more."""
    diagnostics = check(text)
    assert render(text, diagnostics) == expected
    (only,) = diagnostics
    assert (only.fix and only.fix.apply(text)) == fixed
    if fixed is not None:
        assert only.code not in [entry.code for entry in check(fixed)]
