"""tools/find-python among made-up Pythons: which it takes, and its one line when there is none."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

# Runs the probe for real, with another version and without the modules that a distribution left out.
STUB = """#!{python}
import sys
sys.version_info = {version} + (0, "final", 0)
sys.executable = __file__
for name in {without}:
    sys.modules[name] = None
exec(sys.argv[2])
"""
NONE = (
    "no usable Python: install Python 3.12, 3.13 or 3.14 with its venv module "
    "(Debian: python3-venv; elsewhere: pyenv install 3.12, or uv)\n"
)


def stub(path, minor, without=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STUB.format(python=sys.executable, version=(3, minor), without=tuple(without)), encoding="utf-8")
    path.chmod(0o755)
    return path


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path, repo_root):
    """A machine with two empty folders on PATH, an empty home, and `find()`, which runs the script there."""
    # A space and a glob character, as in a real "My Drive [work]", must not break the walk over PATH.
    first, second, home = tmp_path / "first bin [*]", tmp_path / "second", tmp_path / "home"
    for folder in (first, second, home):
        folder.mkdir()

    def find(**variables):
        environment = {"PATH": f"{first}:{second}", "HOME": str(home), **variables}
        done = subprocess.run(
            ["/bin/sh", repo_root / "tools" / "find-python"],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)

    return SimpleNamespace(first=first, second=second, home=home, find=find)


def assert_found(machine, path, **variables):
    done = machine.find(**variables)
    assert (done.status, done.out, done.err) == (0, f"{path}\n", "")


def assert_none(done):
    assert (done.status, done.out, done.err) == (1, "", NONE)


def test_nothing_there(machine):
    assert_none(machine.find())


@pytest.mark.parametrize("name", ["python3.12", "python3", "python"])
def test_name(machine, name):
    assert_found(machine, stub(machine.second / name, 12))


@pytest.mark.parametrize("minor", [13, 14])
def test_newer_versions(machine, minor):
    assert_found(machine, stub(machine.first / f"python3.{minor}", minor))


@pytest.mark.parametrize("minor", [8, 11, 15])
def test_other_versions_are_refused(machine, minor):
    stub(machine.first / "python3", minor)
    assert_none(machine.find())


def test_3_12_wins_wherever_it_is(machine):
    stub(machine.first / "python3", 14)
    stub(machine.first / "python3.13", 13)
    assert_found(machine, stub(machine.second / "python", 12))


def test_lowest_of_the_others(machine):
    stub(machine.first / "python3", 14)
    stub(machine.home / ".pyenv" / "versions" / "3.14.2" / "bin" / "python3", 14)
    assert_found(machine, stub(machine.second / "python3.13", 13))


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_without_venv_it_is_refused(machine, module):
    stub(machine.first / "python3.12", 12, without=[module])
    assert_none(machine.find())
    assert_found(machine, stub(machine.second / "python3", 13))


def test_shim_that_fails_hides_nothing(machine):
    script(machine.first / "python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    assert_found(machine, stub(machine.second / "python3.12", 12))


@pytest.mark.parametrize("text", ["echo hello", "echo 12", "echo 13 /bin/sh; exit 1", ":"])
def test_a_program_that_is_no_python(machine, text):
    script(machine.first / "python3", text)
    assert_none(machine.find())


def test_name_lies_about_its_version(machine):
    stub(machine.first / "python3.12", 11)
    assert_none(machine.find())


def test_folder_and_plain_file_are_passed_over(machine):
    (machine.first / "python3.12").mkdir()
    (machine.first / "python3").write_text("not executable", encoding="utf-8")
    assert_found(machine, stub(machine.second / "python3", 12))


def test_pyenv_versions(machine):
    stub(machine.home / ".pyenv" / "versions" / "3.11.7" / "bin" / "python3", 11)
    found = stub(machine.home / ".pyenv" / "versions" / "3.12.1" / "bin" / "python3", 12)
    assert_found(machine, found)


def test_pyenv_root(machine, tmp_path):
    found = stub(tmp_path / "pyenv root" / "versions" / "3.13.0" / "bin" / "python3", 13)
    assert_none(machine.find())
    assert_found(machine, found, PYENV_ROOT=str(tmp_path / "pyenv root"))


def test_uv_is_asked_last(machine, tmp_path):
    found = stub(tmp_path / "uv" / "python3.12", 12)
    script(machine.first / "uv", f"[ \"$*\" = 'python find >=3.12,<3.15' ] && echo '{found}'")
    assert_found(machine, found)
    assert_found(machine, stub(machine.second / "python3.14", 14))


def test_uv_installs_where_it_finds_none(machine, tmp_path):
    place = tmp_path / "uv" / "python3.12"
    hidden = stub(tmp_path / "hidden", 12)
    script(
        machine.first / "uv",
        f"""echo noise >&2
case "$*" in
    'python install 3.12') /bin/mkdir -p '{place.parent}'; /bin/cp '{hidden}' '{place}' ;;
    'python find 3.12') [ -x '{place}' ] && echo '{place}' ;;
    *) exit 2 ;;
esac""",
    )
    assert_found(machine, place)


def test_uv_without_network(machine):
    script(machine.first / "uv", "echo 'no network' >&2; exit 2")
    assert_none(machine.find())


def test_no_home(machine, repo_root):
    done = subprocess.run(["/bin/sh", repo_root / "tools" / "find-python"], env={"PATH": ""}, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.decode() == NONE


def test_it_is_executable(repo_root):
    assert os.access(repo_root / "tools" / "find-python", os.X_OK)
