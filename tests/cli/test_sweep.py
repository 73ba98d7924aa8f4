"""`workbench sweep`: what it prints and writes, and what it refuses before anything is imported."""

import json
from xml.etree import ElementTree

import pytest

from workbench.compare.sweep.result import Sweep

from ..render.pages import assert_self_contained

SIZES = {"hidden_size": 32, "ffn_hidden_size": 32, "mamba_head_dim": 32, "mamba_num_groups": 1}
QUICK = (
    "--data",
    "mqar:pairs=2,vocabulary=16",
    "--steps",
    "2",
    "--rows",
    "2",
    "--seeds",
    "1",
    "2",
    "--tolerance",
    "0.2",
)


@pytest.fixture
def sizes(tmp_path):
    path = tmp_path / "sizes.json"
    path.write_text(json.dumps(SIZES))
    return str(path)


def test_a_table_and_files(run, tmp_path, sizes):
    done = run(
        *("sweep", "MM", "M*", *QUICK, "--sizes", sizes, "--html", "sweep.html", "--output", "sweep.json"),
        *("--chart", "sweep.svg"),
    )
    assert done.status == 0, done.err
    assert done.err.splitlines()[:2] == ["run 1 of 4: MM, seed 1", "run 2 of 4: M*, seed 1"]
    found = Sweep.from_json(json.loads((tmp_path / "sweep.json").read_text()))
    assert [entrant.pattern for entrant in found.entrants] == ["MM", "M*"]
    for entrant in found.entrants:
        for value in entrant.quality("accuracy").values:
            assert f"{value:.3f}" in done.out
    assert_self_contained((tmp_path / "sweep.html").read_text())
    assert ElementTree.parse(tmp_path / "sweep.svg").getroot().tag.endswith("svg")


def test_json(run, sizes):
    done = run("sweep", "MM", *QUICK, "--sizes", sizes, "--json", "--quiet", "--equal", "sizes", "--quality", "loss")
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out)["schema"] == "workbench.sweep/1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "workbench sweep needs patterns, such as: workbench sweep 'MMMM' 'M*MM'"),
        (("M["), "unclosed-group"),
        (("|",), "an empty pattern has no layers"),
        (("M", "--chart", "a.png"), "--chart writes SVG"),
        (("M", "--seeds"), "expected at least one argument"),
        (("M", "--equal", "price"), "invalid choice: 'price'"),
        (("M", "--html", "a", "--output", "a"), "are both a"),
        (("M", "M"), "a sweep needs every pattern once, not M, M"),
        (("M", "--data", "mqa"), "mqar"),
    ],
)
def test_bad_input(run, arguments, said):
    done = run("sweep", *([arguments] if isinstance(arguments, str) else arguments))
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
