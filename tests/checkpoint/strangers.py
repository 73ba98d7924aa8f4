"""Pickles that want to run something when they are loaded, each with a file that appears if it did."""

from __future__ import annotations

import builtins
import importlib
import operator
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


class Call:
    """Pickles into a call of `function`, made while it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Built:
    """Pickles into a harmless call whose result is then given a state by another: BUILD with a stranger's items."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __reduce__(self) -> Any:
        return (dict, (), None, None, iter([("a", self.inner)]))


def gadgets(canary: Path) -> dict[str, Any]:
    """Name of the trick → an object that makes `canary` when Python's own unpickler reads what it pickles to."""
    code = f"open({str(canary)!r}, 'w').close()"
    touch = f"touch '{canary}'"
    return {
        "os.system": Call(os.system, touch),
        "os.mkdir": Call(os.mkdir, str(canary)),
        "subprocess": Call(subprocess.check_output, ["touch", str(canary)]),
        "eval": Call(builtins.eval, f"open({str(canary)!r}, 'w')"),
        "exec": Call(builtins.exec, code),
        "open": Call(builtins.open, str(canary), "w"),
        "getattr chain": Call(
            operator.call, Call(builtins.getattr, Call(importlib.import_module, "os"), "system"), touch
        ),
        "copy": Call(shutil.copy, sys.executable, str(canary)),
        "nested": {"model": [{"a": (1, Call(os.mkdir, str(canary)))}]},
        "built": Built(Call(os.mkdir, str(canary))),
        "as a key": {Call(os.open, str(canary), os.O_CREAT): 1},
    }


# The same and worse by hand, in every protocol: what each asks for first.
HANDMADE: dict[str, tuple[str, bytes]] = {
    "GLOBAL": ("os.system", b"cos\nsystem\n(S'true'\ntR."),
    "INST": ("os.system", b"(S'true'\nios\nsystem\n."),
    "OBJ": ("os.system", b"(cos\nsystem\nS'true'\no."),
    "STACK_GLOBAL": ("os.system", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."),
    "NEWOBJ": ("subprocess.Popen", b"\x80\x02csubprocess\nPopen\nX\x04\0\0\0true\x85\x81."),
    "NEWOBJ_EX": ("subprocess.Popen", b"\x80\x04csubprocess\nPopen\nX\x04\0\0\0true\x85}\x92."),
    "dotted": ("collections.OrderedDict.fromkeys", b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93."),
    "dunder": ("torch.Size.__class__", b"\x80\x04\x8c\x05torch\x8c\x0eSize.__class__\x93."),
    "Python 2": ("__builtin__.eval", b"c__builtin__\neval\n(S'1'\ntR."),
    "getattr": ("builtins.getattr", b"cbuiltins\ngetattr\n."),
    "torch.load": ("torch.load", b"ctorch\nload\n(S'x'\ntR."),
    "torch.hub": ("torch.hub.load", b"ctorch.hub\nload\n(S'x'\nS'y'\ntR."),
    "load_from_bytes": ("torch.storage._load_from_bytes", b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR."),
    "numpy.load": ("numpy.load", b"cnumpy\nload\n(S'x'\ntR."),
    "pickle.loads": ("pickle.loads", b"cpickle\nloads\n(S'x'\ntR."),
    "runpy": ("runpy._run_code", b"crunpy\n_run_code\n."),
    "partial": ("functools.partial", b"cfunctools\npartial\n."),
    "lambda": ("types.FunctionType", b"ctypes\nFunctionType\n."),
    "code": ("types.CodeType", b"ctypes\nCodeType\n."),
    "TorchScript": ("torch.jit.load", b"ctorch.jit\nload\n."),
    "reconstructor": ("copyreg._reconstructor", b"ccopyreg\n_reconstructor\n."),
    "set an attribute": ("builtins.setattr", b"cbuiltins\nsetattr\n."),
}


def pickled(gadget: Any, protocol: int = 2) -> bytes:
    """The bytes of a gadget."""
    return pickle.dumps(gadget, protocol)
