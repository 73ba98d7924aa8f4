"""The shared test tools, run on tests that are made for the purpose: each is seen to fail as well as to pass."""

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
INI = """
[pytest]
markers =
    gpu: x
    te: x
    browser: x
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with this conftest, whose golden folder is its own."""
    # The plugins have no part in this and take most of each run's time to load.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(INI)
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    return pytester


def golden_test(project: pytest.Pytester, name: str, text: str) -> None:
    project.makepyfile(f"def test_text(golden):\n    golden({name!r}, {text!r})\n")


def golden_file(project: pytest.Pytester, name: str) -> Path:
    return project.path / "golden" / name


def test_equal_text_passes(project):
    golden_test(project, "a.txt", "one\ntwo\n")
    golden_file(project, "a.txt").parent.mkdir()
    golden_file(project, "a.txt").write_bytes(b"one\ntwo\n")
    project.runpytest().assert_outcomes(passed=1)


def test_other_text_fails_with_a_diff(project):
    golden_test(project, "a.txt", "one\ntwo\n")
    golden_file(project, "a.txt").parent.mkdir()
    golden_file(project, "a.txt").write_bytes(b"one\n2\n")
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["--- tests/golden/a.txt", "+++ what the test made", " one", "-2", "+two"])


@pytest.mark.parametrize("stored", [b"one\r\ntwo\n", b"one\ntwo", b"\xef\xbb\xbfone\ntwo\n"])
def test_bytes_are_compared(project, stored):
    golden_test(project, "a.txt", "one\ntwo\n")
    golden_file(project, "a.txt").parent.mkdir()
    golden_file(project, "a.txt").write_bytes(stored)
    project.runpytest().assert_outcomes(failed=1)


def test_missing_file_fails(project):
    golden_test(project, "a.txt", "one\n")
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["tests/golden/a.txt is missing; write it with --update-golden"])
    assert not golden_file(project, "a.txt").exists()


def test_update_writes_what_then_passes(project):
    golden_test(project, "deep/a.txt", "× – one\n")
    project.runpytest("--update-golden").assert_outcomes(passed=1)
    assert golden_file(project, "deep/a.txt").read_bytes() == "× – one\n".encode()
    project.runpytest().assert_outcomes(passed=1)


def test_name_stays_in_the_folder(project):
    golden_test(project, "../a.txt", "one\n")
    project.runpytest("--update-golden").assert_outcomes(failed=1)
    assert not (project.path / "a.txt").exists()


BROWSER_TEST = """
import pytest

@pytest.mark.browser
@pytest.mark.skipif({own_skip}, reason="the test's own")
def test_page():
    pass
"""


@pytest.fixture
def path(tmp_path_factory, monkeypatch):
    """A PATH with one empty folder, and no word about whether a browser is required."""
    folder = tmp_path_factory.mktemp("path")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("WORKBENCH_REQUIRE_BROWSER", raising=False)
    return folder


def test_no_browser_is_a_skip(project, path):
    project.makepyfile(BROWSER_TEST.format(own_skip=False))
    result = project.runpytest("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no browser on PATH: chromium, chromium-browser, google-chrome"])


@pytest.mark.parametrize("own_skip", [False, True])
def test_no_browser_is_an_error_where_required(project, path, monkeypatch, own_skip):
    monkeypatch.setenv("WORKBENCH_REQUIRE_BROWSER", "1")
    project.makepyfile(BROWSER_TEST.format(own_skip=own_skip))
    result = project.runpytest()
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_a_browser_is_found(project, path, name):
    (path / name).touch(mode=0o755)
    project.makepyfile(BROWSER_TEST.format(own_skip=False))
    project.runpytest().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marker", "cuda", "engine", "outcome", "reason"),
    [
        ("gpu", False, "", {"skipped": 1}, "no CUDA device"),
        ("gpu", True, "", {"passed": 1}, None),
        ("te", False, "", {"skipped": 1}, "transformer-engine runs on a CUDA device, and there is none"),
        ("te", True, "", {"passed": 1}, None),
        ("te", True, "raise OSError('libcudart')", {"skipped": 1}, "transformer-engine does not import: libcudart"),
    ],
)
def test_devices(project, marker, cuda, engine, outcome, reason):
    """In a process of its own, with stand-ins: torch cannot be imported twice in one process."""
    project.makepyfile(torch=f"class cuda:\n    is_available = staticmethod(lambda: {cuda})\n")
    project.mkpydir("transformer_engine").joinpath("pytorch.py").write_text(engine, encoding="utf-8")
    project.makepyfile(f"import pytest\n\n@pytest.mark.{marker}\ndef test_device():\n    pass\n")
    result = project.runpytest_subprocess("-rs")
    result.assert_outcomes(**outcome)
    if reason is not None:
        result.stdout.fnmatch_lines([f"*{reason}"])


def test_header_shows_versions_without_importing(project):
    project.makepyfile("import sys\n\ndef test_nothing():\n    assert not {'torch', 'megatron'} & set(sys.modules)\n")
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"torch \d\S*, megatron-core \d\S*$"])
