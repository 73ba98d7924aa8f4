import json
import shlex
from dataclasses import replace

import pytest

from workbench.cli.output import json_text

from ..render.pages import assert_self_contained
from ..views.verdicts import BAD, GOOD


@pytest.fixture
def page(run, tmp_path):
    """The report that a command line writes."""

    def read(*argv):
        done = run("report", *argv, "-o", "review.html", "--force")
        assert (done.status, done.out, done.err) == (0, "", "wrote review.html\n")
        return (tmp_path / "review.html").read_text(encoding="utf-8")

    return read


@pytest.fixture
def verdict_file(tmp_path):
    def write(data, name="verdict.json"):
        text = data if isinstance(data, str) else json_text(data if isinstance(data, dict) else data.to_json())
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write


def test_a_report(page, verdict_file):
    source = page("M[*-]", "--against", "M*-", "--verdict", verdict_file(GOOD), "--date", "31 January")
    shown = assert_self_contained(source).text
    for said in ("EQUIVALENT", "They differ in fusion only", "31 January", "sha256 of the verdict's file"):
        assert said in shown
    assert "workbench report 'M[*-]' --against 'M*-' --verdict verdict.json --date '31 January'" in shown


def test_the_same_input_gives_the_same_bytes_wherever_it_is_written(run, page, tmp_path):
    one = page("M[*E]|M-", "--tp", "2")
    run("report", "M[*E]|M-", "--tensor-parallel", "2", "-o", "other.html")
    assert (tmp_path / "other.html").read_text(encoding="utf-8") == one
    assert run("report", "M[*E]|M-", "--tp", "2").out == one


def test_the_command_in_the_report_gives_the_report(page, run, tmp_path):
    (tmp_path / "my sizes.json").write_text('{"hidden_size": 128}')
    options = (
        *("--sizes", "my sizes.json", "--vocab-size", "256", "--dtype", "fp32", "--sequence-length", "512"),
        *("--tp", "2", "--ep", "2", "--dp", "2", "--micro-batch", "2", "--recompute", "full"),
        *("--no-distributed-optimizer", "--against", "M*-|E"),
    )
    source = page("M[*-]|E", *options)
    text = assert_self_contained(source).text
    command = text[text.index("workbench report") :].split("Conventions")[0]
    assert page(*shlex.split(command)[2:]) == source


def test_a_preset(page):
    shown = page("nemotron-h-56b", "--pp", "2")
    assert "<h1>Nemotron-H-56B</h1>" in shown
    assert "source: NVIDIA/Megatron-LM" in shown
    assert "56,324,350,464" in shown


def test_a_failed_verdict_written_by_verify(page, verdict_file):
    assert "NOT EQUIVALENT" in page("M[*-]", "--verdict", verdict_file(BAD))


def test_a_verdict_about_another_pattern(page, verdict_file):
    shown = page("MM", "--verdict", verdict_file(GOOD))
    assert "ABOUT OTHER PATTERNS" in shown


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202e\x1b[31m'


def test_hostile_texts_of_files_are_texts(page, verdict_file, tmp_path):
    hostile = {
        **json.loads(json_text(replace(BAD, environment={HOSTILE: HOSTILE}).to_json())),
        "left": {**GOOD.to_json()["left"], "modules": [[HOSTILE, HOSTILE]]},
    }
    hostile["checks"][2]["differences"][0]["detail"] = HOSTILE
    name = "a'\"<script>alert(2)<\u2044script>\x1b[31m.json"
    source = page("M[*-]", "--verdict", verdict_file(hostile, name), "--date", HOSTILE)
    shown = assert_self_contained(source)
    assert not shown.all("img")
    assert "\x1b" not in source
    assert "\u202e" not in source
    assert "<script>alert(1)</script>" in shown.text


GOOD_DATA = json.loads(json_text(GOOD.to_json()))


def changed(**fields):
    return {**GOOD_DATA, **fields}


def checked(**fields):
    return changed(checks=[{**GOOD_DATA["checks"][0], **fields}])


NO_VERDICTS = {
    "not JSON": ("{", "line 1, column 2"),
    "a list": ("[1]", "not a verdict: expected schema 'workbench.verdict/1', found [1]"),
    "another schema": ('{"schema": "workbench.cost/1"}', "found 'workbench.cost/1'"),
    "nothing in it": ('{"schema": "workbench.verdict/1"}', "not a verdict: 'left'"),
    "deep": ("[" * 100_000, "verdict.json: "),
    "a long number": ("1" * 5000, "verdict.json: "),
    "checks that are none": (changed(checks=[1]), "expected an object, found 1"),
    "a pass in words": (checked(passed="yes"), "passed is 'yes'"),
    "a pass as a number": (checked(passed=1), "passed is 1"),
    "a name that is none": (checked(name=None), "name is None"),
    "an endless time": (checked(seconds=float("1e999")), "a time is 'inf'"),
    "a time that is no number of JSON": (json.dumps(checked(seconds=float("nan"))), "a time is nan"),
    "a twin of texts": (changed(left={**GOOD_DATA["left"], "blocks": "two"}), "blocks is 'two'"),
    "an unknown field": (checked(more=1), "not a verdict: "),
    "an environment of text": (changed(environment="cpu"), "expected an object, found 'cpu'"),
    "a deep environment": (changed(environment={"a": [[[[[[[[[[]]]]]]]]]]}), "nested more than 8 deep"),
    "an answer of its own": (
        changed(checks=[{**GOOD_DATA["checks"][0], "passed": False}]),
        "what it says of equivalence is not what its checks say",
    ),
}


@pytest.mark.parametrize("case", NO_VERDICTS)
def test_a_file_that_is_no_verdict(run, verdict_file, case, tmp_path):
    data, said = NO_VERDICTS[case]
    done = run("report", "M[*-]", "--verdict", verdict_file(data), "-o", "review.html")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("workbench: error: verdict.json: ")
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "review.html").exists()


REFUSED = {
    (): "workbench report needs a pattern, a preset's name, a config.json",
    ("M[*",): "^",
    ("M", "--against", "M["): "^",
    ("M", "--against", ""): "an empty pattern has no layers: there is nothing to compare with",
    ("M", "--verdict", "none.json"): "none.json: No such file or directory",
    ("M", "--tp", "7"): "cannot be divided over 7",
    ("M|M", "--pp", "2", "--against", "M|M|M"): "3 stages cannot be divided over 2 pipeline ranks",
    ("llama-3-8b", "--against", "M"): "error: --against M: 'M' (Mamba-2) needs mamba_state_dim",
}


@pytest.mark.parametrize("argv", REFUSED, ids=" ".join)
def test_what_is_refused(run, argv):
    done = run("report", *argv)
    assert (done.status, done.out) == (2, "")
    assert REFUSED[argv] in done.err
    assert "Traceback" not in done.err


def test_an_existing_file_is_kept(run, tmp_path):
    (tmp_path / "review.html").write_text("mine")
    done = run("report", "M", "-o", "review.html")
    assert done.status == 2
    assert (tmp_path / "review.html").read_text() == "mine"
