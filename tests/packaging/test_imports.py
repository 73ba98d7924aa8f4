"""What importing the package costs and shows, each time in a fresh interpreter."""

import ast
import json
import subprocess
import sys

import pytest

import workbench

HEAVY = ("torch", "megatron", "numpy", "IPython", "ipywidgets", "anywidget", "graphviz")


def loaded(statement):
    """Which of the heavy packages a fresh interpreter holds after a statement, which may print."""
    program = f"import sys\n{statement}\nprint()\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[-2].split()


@pytest.mark.parametrize(
    "statement",
    [
        "import workbench",
        "from workbench import Pattern, PatternError, check; check('M[*')",
        "from workbench.cli import main; main(['explain', 'M[*-]M[ME]|M-*-/[*-]'])",
        "from workbench import Architecture, estimate, preset; estimate('M'); preset('llama-3-8b').architecture()",
        "from workbench.cli import main; main(['cost', 'Nemotron-3-Super-120B-A12B'])",
        "from workbench.cli import main; main(['balance', 'nemotron-h-56b', '--stages', '8'])",
        "from workbench.cli import main; main(['presets'])",
    ],
)
def test_the_light_part_loads_nothing_heavy(statement):
    assert loaded(statement) == []


def test_the_editor_loads_widgets_and_nothing_heavier():
    assert set(loaded("from workbench import Editor; Editor('M[*-]').cost()")) <= {"IPython", "ipywidgets", "anywidget"}


def test_files_are_inspected_and_compared_without_torch(tmp_path):
    header = json.dumps({"decoder.final_norm.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    for name, data in (("a", b"\0\0\0\0"), ("b", b"\0\0\1\0")):
        (tmp_path / name).write_bytes(len(header).to_bytes(8, "little") + header + data)
    left, right = str(tmp_path / "a"), str(tmp_path / "b")
    program = f"from workbench import diff, inspect; inspect({left!r}); assert not diff({left!r}, {right!r}).identical"
    assert loaded(program) == ["numpy"]


def test_the_check_can_fail():
    assert loaded("import numpy") == ["numpy"]


def test_public_names_are_pinned():
    assert workbench.__all__ == [
        "Architecture", "Balance", "Converted", "Cost", "Diagnostic", "Diff", "DiffBrowser", "Editor", "Inspection",
        "ModelSizes", "Parallel", "Pattern", "PatternError", "Sweep", "Throughput", "TrainingChart", "TrainingRun",
        "TrainingSettings", "Twins", "Verdict", "best_stages", "check", "convert", "diff", "estimate", "inspect",
        "open_checkpoint", "open_data", "preset", "presets", "sweep", "throughput", "train", "train_twins", "verify",
    ]  # fmt: skip
    assert dir(workbench) == sorted(workbench.__all__)


def test_every_public_name_is_there():
    # Apart from this process, where resolving a name also hangs its notebook view into the class for the other tests.
    program = "import workbench; print(*(getattr(workbench, name).__name__ for name in workbench.__all__))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == workbench.__all__


def test_unknown_name_lists_the_known():
    with pytest.raises(AttributeError, match="no attribute 'Patern'; it has Architecture, Balance, Converted, Cost"):
        _ = workbench.Patern


def test_every_module_says_what_it_is(repo_root):
    modules = sorted((repo_root / "workbench").rglob("*.py"))
    assert len(modules) > 20
    silent = []
    for path in modules:
        source = path.read_text(encoding="utf-8")
        if not source.strip() and path.name == "__init__.py":
            continue
        if not ast.get_docstring(ast.parse(source)):
            silent.append(str(path.relative_to(repo_root)))
    assert silent == []


@pytest.mark.parametrize("name", ["train_twins", "throughput"])
def test_what_runs_models_is_imported_without_a_warning(name):
    # Megatron must be imported by `workbench.fusion`: whoever imports it first gets torch.compile, and a warning.
    program = f"from workbench import {name}"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
