"""No tracked file names a package registry's host: which one is used is a machine's business, not the project's."""

import re
import shutil
import subprocess

import pytest

HOST = re.compile(r'https?://[^/\s"]*(?:pypi|npm|hosted|debian)[^/\s"]*', re.IGNORECASE)


def hosts(text):
    return HOST.findall(text)


def test_tracked_files_name_no_registry(repo_root):
    if not (repo_root / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: what is tracked is unknown")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repo_root, capture_output=True, check=True).stdout
    paths = [repo_root / name for name in listed.decode().split("\0") if name]
    assert repo_root / "pyproject.toml" in paths
    found = {
        str(path.relative_to(repo_root)): hosts(path.read_bytes().decode(errors="replace"))
        for path in paths
        if path.is_file()  # not one that is tracked and deleted
    }
    assert {path: named for path, named in found.items() if named} == {}


@pytest.mark.parametrize("host", ["pypi.example", "files.pythonhosted.example", "registry.npmjs.example"])
def test_the_check_can_fail(host):
    url = f"https://{host}"
    assert hosts(f'registry = "{url}/simple"') == [url]
    assert hosts(url.upper().replace("HTTPS", "http")) == [url.upper().replace("HTTPS", "http")]


def test_other_hosts_are_fine():
    assert hosts("see https://arxiv.org/abs/2405.21060, and https://github.com/NVIDIA/npm-like") == []
