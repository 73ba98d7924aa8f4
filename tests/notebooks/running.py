"""Reading and running the working notebooks, in a fresh kernel of this environment, in a folder of the test's own."""

import atexit
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))
FIRST = "01_from_pattern_to_proof"
COSTS = "02_what_it_costs"
TEACHING = "03_teaching_fusion"
CHECKPOINTS = "04_checkpoints"
EDIT = "00_edit_a_pattern"
TRAINING = "05_train_and_compare"
LEARNING = "06_which_pattern_learns_what"

# What the tests put in the place of a notebook's first value: as it stands, this one trains for a quarter of an hour.
QUICK = {LEARNING: 4}


class _ThisEnvironment(KernelSpecManager):
    """Every kernel name is this interpreter, whatever is installed for the user or the machine."""

    def get_kernel_spec(self, kernel_name):
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="this environment", language="python")


def read(path):
    """The notebook, checked against the format's schema."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def executed(path, folder, value=None, seconds=300):
    """The notebook after a run in `folder`, `seconds` a cell; `value` is put in the place of the first code cell's (`PATTERN = "M"`)."""
    notebook = read(path)
    if value is not None:
        first = code_cells(notebook)[0]
        variable, is_there, _ = first.source.partition(" = ")
        assert is_there
        assert variable.isupper()
        first.source = f"{variable} = {value!r}"
    manager = AsyncKernelManager(kernel_spec_manager=_ThisEnvironment())
    # km and not kernel_name: a kernel that is looked up by name may belong to another environment. No widget state: a page
    # that is made of a notebook with any asks a CDN for the widgets' code.
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, km=manager, timeout=seconds, store_widget_state=False, resources=place).execute()
    return notebook


@cache
def once(path):
    """The notebook after a run (a quick one where `QUICK` says so) and the folder that it ran in: once a process, for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="notebook-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return executed(path, folder, QUICK.get(path.stem)), folder


def code_cells(notebook):
    """The code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    """Every output of every cell, in order."""
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def stderr(notebook):
    """What was said on stderr, by every cell that said something."""
    return [output.text for output in outputs(notebook) if output.get("name") == "stderr"]


def shown_text(notebook):
    """What a reader reads: the streams and the plain text of every output."""
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs(notebook))
