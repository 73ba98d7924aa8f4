import json
from dataclasses import replace

import pytest

from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError

from ..render.pages import assert_self_contained
from ..views.verdicts import BAD

DEFAULTS = {
    "sizes": None,
    "steps": 5,
    "seed": 1234,
    "dtype": "fp32",
    "dropout": None,
    "backend": "auto",
    "atol": 0.0,
    "rtol": 0.0,
}


def test_equivalent_twins(run, fake_verify):
    done = run("verify", "M[*-]")
    assert (done.status, done.err) == (0, "")
    assert fake_verify.calls == [("M[*-]", None, DEFAULTS)]
    assert done.out.splitlines()[:6] == [
        "building the twins M[*-] and M*-",
        "✓ passed   logits: 2,048 logits: identical bits (412 ms)",
        "✓ passed   loss: 1 number: identical bits (2 ms)",
        "",
        "Verdict on the twins",
        "",
    ]
    assert "✓ EQUIVALENT: 2 of 2 checks passed, bitwise" in done.out


def test_twins_that_differ(run, fake_verify):
    fake_verify.verdict = BAD
    done = run("verify", "M[*-]")
    assert done.status == 1
    assert "✗ NOT EQUIVALENT: 2 of 5 checks passed" in done.out
    assert "\x1b" not in done.out


def test_every_option_is_passed_on(run, fake_verify, tmp_path):
    (tmp_path / "sizes.json").write_text('{"hidden_size": 32}')
    done = run(
        *("verify", "-M", "--against", "-M", "--sizes", "sizes.json", "--steps", "2", "--seed", "0", "--dtype", "bf16"),
        *("--dropout", "0.1", "--backend", "local", "--atol", "1e-3", "--rtol", "0.5", "--quiet"),
    )
    assert (done.status, done.out, done.err) == (0, "✓ EQUIVALENT: 2 of 2 checks passed, bitwise\n", "")
    options = {
        "sizes": ModelSizes(hidden_size=32),
        "steps": 2,
        "seed": 0,
        "dtype": "bf16",
        "dropout": 0.1,
        "backend": "local",
        "atol": 0.001,
        "rtol": 0.5,
    }
    assert fake_verify.calls == [("-M", "-M", options)]


def test_json_on_standard_output_and_progress_on_standard_error(run, fake_verify):
    fake_verify.verdict = BAD
    done = run("verify", "M[*-]", "--json")
    data = json.loads(done.out)
    assert done.status == 1
    assert data["equivalent"] is False
    assert [check["passed"] for check in data["checks"]] == [True, True, False, False, None]
    assert {"name", "passed", "measured", "seconds"} <= set(data["checks"][0])
    assert data["environment"]["tolerance"] == "bitwise"
    assert data["checks"][2]["differences"][1]["max_abs"] == "nan"
    assert len(done.err.splitlines()) == 6


def test_quiet_json_has_no_progress(run, fake_verify):
    done = run("verify", "M[*-]", "--json", "--quiet")
    assert done.err == ""
    json.loads(done.out)


def test_files(run, fake_verify, tmp_path):
    done = run("verify", "M[*-]", "--html", "out/v.html", "--output", "out/v.json", "--quiet")
    assert (done.status, done.err) == (0, "wrote out/v.html\nwrote out/v.json\n")
    assert_self_contained((tmp_path / "out/v.html").read_text())
    assert json.loads((tmp_path / "out/v.json").read_text())["schema"] == "workbench.verdict/1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["", "--json"], "an empty pattern has no layers"),
        (["M", "--against", "|"], "an empty pattern has no layers"),
        (["M", "--against", "M["], "unclosed-group"),
        (["M", "--sizes", "missing.json"], "missing.json: No such file or directory"),
        (["M", "--sizes", "broken.json"], "broken.json: line 1, column 2"),
        (["M", "--html", "old.html"], "old.html exists already"),
        (["M", "--output", "old.html/v.json"], "cannot write old.html/v.json"),
        (["M", "--output", "v", "--html", "./v"], "--html and --output are both"),
        (["M", "--steps", "-1"], "expected a whole number of at least 1, not '-1'"),
        (["M", "--steps", "0"], "expected a whole number of at least 1, not '0'"),
        (["M", "--dropout", "1"], "expected a probability of at least 0 and below 1, not '1'"),
        (["M", "--atol", "nan"], "expected a number of at least 0, not 'nan'"),
        (["M", "--dtype", "fp8"], "invalid choice: 'fp8'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_built(run, fake_verify, tmp_path, arguments, said):
    (tmp_path / "old.html").write_text("mine")
    (tmp_path / "broken.json").write_text("{")
    done = run("verify", *arguments)
    assert done.status == 2
    assert said in done.err
    assert fake_verify.calls == []
    assert (tmp_path / "old.html").read_text() == "mine"


def test_an_error_of_the_run_is_bad_input(run, fake_verify, monkeypatch):
    def refuse(*_, **__):
        raise WorkbenchError("the te backend needs a CUDA device")

    monkeypatch.setattr(fake_verify, "verify", refuse)
    done = run("verify", "M", "--quiet")
    assert (done.status, done.out) == (2, "")
    assert done.err == "workbench: error: the te backend needs a CUDA device\n"


def test_no_check_is_not_equivalent(run, fake_verify):
    fake_verify.verdict = replace(BAD, checks=())
    assert run("verify", "M", "--quiet").status == 1
