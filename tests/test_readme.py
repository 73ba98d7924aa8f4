"""What README and guide show is what happens: their Python runs, their commands exist, the picture is the one the code draws."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workbench.cli import main
from workbench.render.strip import svg
from workbench.views.pattern import strip

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def test_the_picture_is_the_one_that_the_code_draws() -> None:
    from workbench.pattern.model import Pattern

    drawn = svg(strip(Pattern("M[*-]M[ME]|M-*-/[*-]")), ground=True)
    assert (ROOT / "docs" / "strip.svg").read_text(encoding="utf-8") == drawn


def test_the_first_example_says_what_its_comments_say() -> None:
    from workbench.pattern.diagnostics import PatternError

    lines = examples(README)[0].splitlines()
    space: dict[str, object] = {}
    exec("\n".join(lines[:3]), space)
    with pytest.raises(PatternError, match=r"\^"):
        exec(lines[3], space)
    expression = lines[4].split("#")[0]
    assert "# True" in lines[4]
    assert eval(expression, space) is True


def test_the_editor_is_what_its_comments_say() -> None:
    lines = examples(GUIDE)[0].splitlines()
    space: dict[str, object] = {}
    exec("\n".join(lines[:-1]), space)
    pattern, selected, cost = eval(lines[-1].split("#")[0], space)
    assert (str(pattern), selected) == ("M[*-]M[ME]|M-*-/[*-]", None)
    assert cost.parameters.total > 0


def test_the_costs_are_what_the_comment_says() -> None:
    lines = examples(GUIDE)[1].splitlines()
    space: dict[str, object] = {}
    exec("\n".join(lines), space)
    parameters = next(line for line in lines if line.startswith("super_120b.parameters"))
    assert f"# {eval(parameters.split('#')[0], space)}," in parameters
    stages = next(line for line in lines if line.startswith("best_stages"))
    assert str(eval(stages.split("#")[0], space)).count("|") == 7


def test_the_checkpoints_are_what_their_comments_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = examples(GUIDE)[2].splitlines()
    space: dict[str, object] = {}
    exec("\n".join(lines[:-3]), space)
    assert [eval(line.split("#")[0], space) for line in lines[-3:]] == ["M[*-]", True, True]


def test_the_training_is_what_its_comments_say() -> None:
    lines = examples(GUIDE)[3].splitlines()
    space: dict[str, object] = {}
    exec("\n".join(lines[:-2]), space)
    assert [eval(line.split("#")[0], space) for line in lines[-2:]] == [True, (10, True)]


def test_the_independent_model_is_as_near_as_it_says() -> None:
    lines = examples(GUIDE)[4].splitlines()
    space: dict[str, object] = {}
    exec("\n".join(lines[:-1]), space)
    assert "# True" in lines[-1]
    assert bool(eval(lines[-1].split("#")[0], space)) is True


def test_the_last_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(examples(GUIDE)[5], {})
    assert (tmp_path / "run" / "step-0" / "metadata.json").exists()


def test_the_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"\$ workbench (\w+)", GUIDE)
    assert {
        *("explain", "fuse", "draw", "verify", "presets", "cost", "balance", "report", "lab"),
        *("inspect", "diff", "convert", "train", "sweep", "compare"),
    } == set(commands)
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    named = re.findall(r"`(?:workbench )?([a-z]+)`", README.split("|---|---|")[1].split("\n\n")[0])
    assert {*commands, "unfuse"} == {*named, "explain"} - {"html"}
    assert all(command in shown for command in commands)
    assert main(["fuse", "M-M*-ME"]) == 0
    assert capsys.readouterr().out.strip() == "[M-]M[*-][ME]"


def test_every_file_that_it_names_is_there() -> None:
    for name in re.findall(r"`((?:workbench|notebooks|docs)/[\w./]+|environment\.yml)`", README + GUIDE):
        assert (ROOT / name).exists(), name
    for folder, page in ((ROOT, README), (ROOT / "docs", GUIDE)):
        for target in re.findall(r"\]\(([\w./]+)\)", page):
            assert (folder / target).exists(), target
