import json
import subprocess
import sys
from types import ModuleType

import pytest

from workbench.arch.sizes import ModelSizes
from workbench.compare.throughput.result import NotTheSame
from workbench.errors import WorkbenchError

from ..render.pages import assert_self_contained
from ..views.throughputs import FOUND

DEFAULTS = {
    "sizes": None,
    "regimes": ("host", "compute"),
    "trials": None,
    "seconds": None,
    "seed": 1234,
    "dtype": "fp32",
    "backend": "auto",
    "threads": None,
    "clock": "wall",
    "plain": False,
}


@pytest.fixture
def fake_throughput(monkeypatch):
    """`workbench.compare.throughput.measure` replaced: `found` is what it returns or raises, `calls` what it was asked."""
    module = ModuleType("workbench.compare.throughput.measure")
    module.found, module.calls = FOUND, []

    def throughput(pattern, against, *, progress=None, **options):
        module.calls.append((str(pattern), str(against), options))
        for seen in (("host", 0.0), ("host", 1.0), ("compute", 0.5)):
            if progress is not None:
                progress(*seen)
        if isinstance(module.found, Exception):
            raise module.found
        return module.found

    module.throughput = throughput
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_defaults(run, fake_throughput):
    done = run("compare", "M[*-]")
    assert (done.status, done.err) == (0, "building the twins M[*-] and M*-\n")
    assert fake_throughput.calls == [("M[*-]", "M*-", DEFAULTS)]
    assert "✓ FASTER: 1.123× [1.100, 1.130] a step, host regime" in done.out


def test_every_option_is_passed_on(run, fake_throughput, tmp_path):
    (tmp_path / "sizes.json").write_text('{"hidden_size": 32}')
    done = run(
        *("compare", "[*-]", "--against", "*-", "--repeat", "2", "--sizes", "sizes.json", "--regime", "host"),
        *("--trials", "30", "--seconds", "1.5", "--seed", "0", "--threads", "1", "--dtype", "bf16"),
        *("--backend", "local", "--plain", "--clock", "cpu", "--quiet"),
    )
    assert (done.status, done.err, len(done.out.splitlines())) == (0, "", 2)
    options = {
        "sizes": ModelSizes(hidden_size=32),
        "regimes": ("host",),
        "trials": 30,
        "seconds": 1.5,
        "seed": 0,
        "dtype": "bf16",
        "backend": "local",
        "threads": 1,
        "clock": "cpu",
        "plain": True,
    }
    assert fake_throughput.calls == [("[*-][*-]", "*-*-", options)]


def test_a_pattern_without_brackets_is_compared_fused_everywhere(run, fake_throughput):
    done = run("compare", "M*-")
    assert fake_throughput.calls == [("M[*-]", "M*-", DEFAULTS)]
    assert done.err.splitlines()[0] == "nothing is fused in M*-: it is compared fused everywhere"


def test_json(run, fake_throughput):
    data = json.loads(run("compare", "M[*-]", "--json").out)
    assert data["schema"] == "workbench.throughput/1"
    assert data["speedup"] == {"median": 1.1234, "low": 1.1, "high": 1.13}
    assert (data["fused_ms"], data["unfused_ms"]) == (3.4567, 123.45)
    assert data["peak_memory"] == {"fused": 231_424, "unfused": 237_568}
    assert [regime["name"] for regime in data["regimes"]] == ["host", "compute"]


def test_files(run, fake_throughput, tmp_path):
    done = run("compare", "M[*-]", "--html", "out/t.html", "--output", "out/t.json", "--quiet")
    assert (done.status, done.err) == (0, "wrote out/t.html\nwrote out/t.json\n")
    assert_self_contained((tmp_path / "out/t.html").read_text())
    assert json.loads((tmp_path / "out/t.json").read_text())["fused"] == "M[*-]"


def test_not_the_same_function_is_exit_status_1_with_numbers(run, fake_throughput):
    fake_throughput.found = NotTheSame("step 0 has loss 1.0 and 2.0", {"step": 0, "fused": {"loss": 1.0}})
    done = run("compare", "M[*-]", "--json", "--quiet")
    assert (done.status, done.err) == (1, "workbench: step 0 has loss 1.0 and 2.0\n")
    assert json.loads(done.out)["measured"] == {"step": 0, "fused": {"loss": 1.0}}
    assert run("compare", "M[*-]").out == ""


def test_other_symbols_are_another_function(run, fake_throughput):
    done = run("compare", "M[*-]", "--against", "M[*E]")
    assert done.status == 1
    assert "differ in more than brackets" in done.err
    assert fake_throughput.calls == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "workbench compare needs a pattern"),
        (["MM"], "nothing can be fused in MM"),
        (["M["], "unclosed-group"),
        ([""], "an empty pattern has no layers"),
        (["[*-]", "--against", "M["], "unclosed-group"),
        (["[*-]", "--sizes", "missing.json"], "missing.json: No such file or directory"),
        (["[*-]", "--html", "old.html"], "old.html exists already"),
        (["[*-]", "--output", "v", "--html", "./v"], "--html and --output are both"),
        (["[*-]", "--output", "old.html", "--sizes", "old.html", "--force"], "belongs to old.html, which is only read"),
        (["[*-]", "--trials", "5"], "expected a whole number of at least 6, not '5'"),
        (["[*-]", "--seconds", "0"], "expected a number above 0, not '0'"),
        (["[*-]", "--clock", "cpu"], "CPU time is that of a step only with one thread, and the compute regime has"),
        (["[*-]", "--regime", "gpu"], "invalid choice: 'gpu'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_built(run, fake_throughput, tmp_path, arguments, said):
    (tmp_path / "old.html").write_text("mine")
    done = run("compare", *arguments)
    assert done.status == 2
    assert said in done.err
    assert fake_throughput.calls == []
    assert (tmp_path / "old.html").read_text() == "mine"


def test_an_error_of_the_run_is_bad_input(run, fake_throughput):
    fake_throughput.found = WorkbenchError("the te backend needs a CUDA device")
    done = run("compare", "[*-]", "--quiet")
    assert (done.status, done.err) == (2, "workbench: error: the te backend needs a CUDA device\n")


def test_a_terminal_sees_a_bar(run, fake_throughput, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    done = run("compare", "[*-]")
    for said in ("host:   0%", "host: 100%", "compute:  50%"):
        assert said in done.err
    assert "%" not in run("compare", "[*-]", "--quiet").err


def test_bad_input_is_answered_without_torch():
    code = (
        "import sys; from workbench.cli import main; status = main(['compare', 'MM']); "
        "print(status, sorted({'torch', 'numpy', 'megatron'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
