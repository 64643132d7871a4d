"""The plan of the house as a test: who may import whom, what no file may do, and what importing must not change."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vaekit

PACKAGE = Path(vaekit.__file__).parent

FLOORS = {
    1: {"maths", "errors", "threads", "nets", "noise"},
    2: {"core"},
    3: {"distributions", "data", "objectives"},
    4: {"parts", "inference", "models"},
    5: {"training", "evaluation"},
    6: {"settings"},
    7: {"runs"},
    8: {"estimators", "report"},
    9: {"cli"},
    10: {"__main__"},
}
"""A room imports from the floors below its own; within a room anything goes. `vaekit/__init__.py` is the front door."""

FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}

FORBIDDEN_MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "code",
}  # fmt: skip
FORBIDDEN_NAMES = {
    "eval", "exec", "compile", "builtins.eval", "builtins.exec", "builtins.compile",
    "torch.load", "torch.save", "torch.jit.load", "torch.serialization.load", "torch.hub.load",
    "yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all",
    "pandas.read_pickle", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
}  # fmt: skip
MUST_BE_FALSE = {"allow_pickle", "shell"}

FILES = {file.relative_to(PACKAGE).as_posix(): file for file in sorted(PACKAGE.rglob("*.py"))}


def module_of(path: str) -> list[str]:
    """vaekit/objectives/bounds.py ↦ [vaekit, objectives, bounds]; a package's __init__ keeps that name"""
    return ["vaekit", *path.removesuffix(".py").split("/")]


def room_of(path: str) -> str:
    return module_of(path)[1]


def imports(tree: ast.AST, path: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, inside functions and by `import_module("…")` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module_of(path)[: -node.level] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"}:
                yield node.lineno, str(node.args[0].value)


def rooms_imported(tree: ast.AST, path: str) -> Iterator[tuple[int, str]]:
    """(line, room) of every import from vaekit, `vaekit.room` after `import vaekit` too.

    Names that the front door hands on count as "__init__", except for `__version__`.
    """
    doors = {known for known, name in bindings(tree).items() if name == "vaekit"}
    through = [
        (node.lineno, f"vaekit.{node.attr}") for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in doors
    ]  # fmt: skip
    for line, name in [*imports(tree, path), *through]:
        parts = name.split(".")
        if parts[0] == "vaekit" and len(parts) > 1 and parts[1] != "__version__":
            yield line, parts[1] if parts[1] in FLOOR else "__init__"


def bindings(tree: ast.AST) -> dict[str, str]:
    """What the names that a file imports stand for: {"np": "numpy", "load": "torch.load"}"""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                known |= {alias.asname: alias.name} if alias.asname else {top: top}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return known


def wrong_arrows(source: str, path: str) -> list[str]:
    """Every import of a file that does not lead to a lower floor."""
    room, wrong = room_of(path), []
    for line, other in rooms_imported(ast.parse(source), path):
        if other == room:
            continue
        if other == "__init__":
            wrong.append(f"{path}:{line} imports through vaekit itself: import from the room")
        elif FLOOR[other] >= FLOOR[room]:
            wrong.append(f"{path}:{line} {room} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})")
    return wrong


def dangers(source: str, path: str = "x.py") -> list[str]:
    """Every way in which a file could run code that came with the data."""
    tree, found = ast.parse(source), []
    known, shadowed = bindings(tree), {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for line, name in imports(tree, path):
        if name.split(".")[0] in FORBIDDEN_MODULES or name in FORBIDDEN_NAMES:
            found.append(f"{path}:{line} imports {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = _dotted(node, known)
            if name in FORBIDDEN_NAMES and name not in shadowed and isinstance(node.ctx, ast.Load):
                found.append(f"{path}:{node.lineno} uses {name}")
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in MUST_BE_FALSE and not off:
                    found.append(f"{path}:{node.lineno} passes {keyword.arg}={ast.unparse(keyword.value)}")
    return found


def _dotted(node: ast.AST, known: dict[str, str]) -> str | None:
    """a.b.c with `a` replaced by what it was imported as; None for an attribute of anything but a name"""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, known)
        return None if base is None else f"{base}.{node.attr}"
    return None


# the plan


def test_every_room_has_a_floor_and_every_file_a_room():
    rooms = {room_of(path) for path in FILES} - {"__init__"}
    assert {"maths", "core", "distributions", "objectives", "models", "parts"} <= rooms
    assert rooms <= set(FLOOR), "a new room needs a floor"


@pytest.mark.parametrize("path", [path for path in FILES if path != "__init__.py"])
def test_imports_lead_downstairs(path):
    assert wrong_arrows(FILES[path].read_text(encoding="utf8"), path) == []


@pytest.mark.parametrize(("room", "never"), [
    ("objectives", {"models", "parts"}),
    ("models", {"objectives", "parts"}),
    ("parts", {"models", "objectives", "training"}),
    ("evaluation", {"training"}),
    ("data", {"models"}),
    ("nets", set(FLOOR) - {"nets"}),
    ("maths", set(FLOOR)),
    ("errors", set(FLOOR)),
])  # fmt: skip
def test_neighbours_that_never_meet(room, never):
    for path, file in FILES.items():
        if room_of(path) == room:
            met = {other for _, other in rooms_imported(ast.parse(file.read_text(encoding="utf8")), path)}
            assert not met & never, path


@pytest.mark.parametrize(("path", "source"), [
    ("objectives/bounds.py", "from vaekit.models import VAE"),
    ("objectives/bounds.py", "from vaekit import parts"),
    ("objectives/bounds.py", "import vaekit.parts.priors as p"),
    ("objectives/bounds.py", "def f():\n    from vaekit.training import fit"),
    ("objectives/bounds.py", "from ..models import flat"),
    ("objectives/bounds.py", "from .. import models"),
    ("objectives/__init__.py", "from ..models import flat"),
    ("core.py", "from .distributions import Normal"),
    ("core.py", "import importlib\nimportlib.import_module('vaekit.parts')"),
    ("core.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vaekit.models import VAE"),
    ("parts/priors.py", "from vaekit.training import State"),
    ("evaluation/likelihood.py", "from vaekit import VAE"),
    ("report/pictures.py", "import vaekit.estimators"),
    ("runs/folder.py", "import vaekit\nvaekit.VAE"),
    ("core.py", "import vaekit as v\nv.models.VAE"),
])  # fmt: skip
def test_an_arrow_upstairs_or_sideways_is_seen(path, source):
    assert len(wrong_arrows(source, path)) == 1


@pytest.mark.parametrize(("path", "source"), [
    ("objectives/bounds.py", "from vaekit.core import Batch\nfrom vaekit import maths, nets\nimport torch"),
    ("objectives/__init__.py", "from .bounds import ELBO\nfrom . import average\nfrom ..core import Batch"),
    ("training/loop.py", "from vaekit.data import Dataset\nfrom vaekit.objectives import over_rows"),
    ("cli/__init__.py", "from vaekit import __version__, estimators"),
    ("runs/folder.py", "import vaekit\nvaekit.__version__, vaekit.settings"),
    ("core.py", '"""from vaekit.models import VAE"""\nimport vaekit_other'),
])  # fmt: skip
def test_an_arrow_downstairs_is_not(path, source):
    assert wrong_arrows(source, path) == []


# no code from data


@pytest.mark.parametrize("path", FILES)
def test_no_file_can_run_what_came_with_data(path):
    assert dangers(FILES[path].read_text(encoding="utf8"), path) == []


@pytest.mark.parametrize("source", [
    "import pickle",
    "from pickle import loads",
    "def f():\n    import joblib",
    "import importlib\nimportlib.import_module('pickle')",
    "import torch\ntorch.load('x', weights_only=True)",
    "import torch as t\nreader = t.load",
    "import torch.serialization as s\ns.load('x')",
    "eval('1')",
    "compile('1', '', 'eval')",
    "exec('x = 1')",
    "import builtins\nbuiltins.exec('x = 1')",
    "import yaml\nyaml.load('x')",
    "import numpy as np\nnp.load('x', allow_pickle=True)",
    "import numpy as np\nnp.load('x', allow_pickle=flag)",
    "import subprocess\nsubprocess.run('ls', shell=True)",
    "from os import system\nsystem('ls')",
])  # fmt: skip
def test_a_danger_is_seen(source):
    assert dangers(source)


def test_what_only_looks_dangerous_is_not():
    harmless = """import numpy, json, torch, re
model.eval(), load(x), model.load(x), json.load(f), re.compile("x"), torch.compile(model)
numpy.load("x", allow_pickle=False), "torch.load(x)"
class Settings:
    compile: str = "on"
def fit(compile):
    return Settings(compile=compile)
"""
    assert dangers(harmless) == []


# importing changes nothing

IMPORT_ALL = """
import importlib, json, pkgutil, random, sys
import numpy, torch
from torch.distributions import Distribution, Normal

def state():
    return {
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "argument validation": repr(Distribution._validate_args),
        "validation by default": repr(Distribution.__init__.__defaults__),
        "validation in fact": _refuses(),
        "threads": torch.get_num_threads(),
        "threads between operators": torch.get_num_interop_threads(),
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": repr(numpy.random.get_state()[1].tolist() + list(numpy.random.get_state()[2:])),
        "python's generator": repr(random.getstate()),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "numpy's errors": repr(numpy.geterr()),
    }

def _refuses():
    try:
        Normal(0.0, -1.0)
    except ValueError:
        return True
    return False

before = state()
import vaekit
light = state()
added = sorted(set(sys.modules) & {"sklearn", "matplotlib", "polars", "cyclopts", "rich", "PIL", "tomli_w", "zuko"})
for info in pkgutil.walk_packages(vaekit.__path__, "vaekit."):
    if info.name != "vaekit.__main__":
        importlib.import_module(info.name)
after = state()
changed = [[k, "import vaekit"] for k in before if light[k] != before[k]]
changed += [[k, "import of every module"] for k in before if after[k] != light[k]]
print(json.dumps({"changed": changed, "added": added, "modules": sum(m.startswith("vaekit.") for m in sys.modules)}))
"""


@pytest.mark.slow
def test_importing_changes_nothing_global():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["changed"] == []
    assert result["added"] == []
    assert result["modules"] >= len(FILES) - 2


def test_importing_vaekit_alone_does_not_import_torch():
    script = "import sys, vaekit; print(sorted({'torch', 'numpy', 'sklearn', 'safetensors'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
