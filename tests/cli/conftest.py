import sys
from types import ModuleType, SimpleNamespace

import pytest

from workbench.cli import main

from ..views.verdicts import GOOD


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a command line in an empty folder; its exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run_command(*argv):
        try:
            status = main(list(argv))
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return SimpleNamespace(status=status, out=captured.out, err=captured.err)

    return run_command


@pytest.fixture
def fake_verify(monkeypatch):
    """`workbench.compare.equivalence` replaced: `verdict` is what it returns, `calls` what it was asked."""
    module = ModuleType("workbench.compare.equivalence")
    module.verdict, module.calls = GOOD, []

    def verify(pattern, against=None, *, progress=None, **options):
        module.calls.append((str(pattern), against and str(against), options))
        for check in module.verdict.checks:
            if progress is not None:
                progress(check)
        return module.verdict

    module.verify = verify
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module
