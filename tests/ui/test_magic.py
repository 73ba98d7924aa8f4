"""`%load_ext workbench` and `%%pattern`, in a real shell."""

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from workbench import Pattern, PatternError
from workbench.ui.editor import Editor


@pytest.fixture
def shell():
    found = InteractiveShell()
    found.run_line_magic("load_ext", "workbench")
    return found


def test_the_cell_is_the_pattern(shell):
    assert shell.run_cell_magic("pattern", "", "M[*-]\n") == Pattern("M[*-]")
    assert shell.run_cell_magic("pattern", "", "M[*-]\n | M-\n") == Pattern("M[*-]|M-")


def test_a_name_gets_it(shell):
    shell.run_cell_magic("pattern", "mine", "M-")
    assert shell.user_ns["mine"] == Pattern("M-")


def test_what_is_wrong_is_drawn_with_carets(shell):
    with pytest.raises(PatternError) as caught:
        shell.run_cell_magic("pattern", "mine", "M[-*]")
    assert "    ^" in "\n".join(caught.value._render_traceback_())
    assert "mine" not in shell.user_ns


def test_edit_opens_the_editor_on_any_text(shell):
    shown = shell.run_cell_magic("pattern", "--edit mine", "M[")
    assert isinstance(shown, Editor)
    assert shown.value == "M["
    assert shell.user_ns["mine"] is shown


@pytest.mark.parametrize("line", ["two names", "1st", "--help"])
def test_usage_is_told(shell, line):
    with pytest.raises(UsageError, match="--edit"):
        shell.run_cell_magic("pattern", line, "M")
