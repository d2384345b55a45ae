"""The arrangement of the code: small modules, one way through the folders, no two like names."""

from __future__ import annotations

import ast
import itertools
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

grimp = pytest.importorskip("grimp", reason="it reads the imports")

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "nlcore": ROOT / "nlcore",
    "nlcore_torch": ROOT / "backends" / "nlcore_torch",
    "nlcore_keras": ROOT / "backends" / "nlcore_keras",
    "nlcore_conformance": ROOT / "conformance" / "nlcore_conformance",
}
#: Tables of data, which may be long.
DATA = ("vectors/examples.py",)
#: Folders and modules of each package from the ground up: an import goes down, or stays.
FLOORS = {
    "nlcore": (
        ("spec",),
        ("arguments", "dialects"),
        ("weights",),
        ("block_cost", "block_activity", "reference", "wrapped_block"),
        ("non_local_means",),
        ("video",),
        ("checkpoints",),
        ("coco",),
    ),
    "nlcore_torch": (
        ("arrays", "modes", "operation"),
        ("batch_norm", "parts"),
        ("block", "functional", "sharded", "convert", "adapters"),
        ("attention_weights", "insertion", "backend"),
        ("placement",),
        ("video",),
        ("detection",),
    ),
    "nlcore_keras": (
        ("operation", "engines"),
        ("batch_norm", "adapters"),
        ("functional",),
        ("block",),
        ("attention_weights", "insertion", "backend"),
        ("placement",),
        ("video",),
    ),
    "nlcore_conformance": (
        ("backend", "document"),
        ("problems", "mutants"),
        ("bounds",),
        ("checks",),
        ("run", "vectors"),
        ("reports", "evidence"),
        ("identify", "processes", "selftest", "pytest_plugin"),
        ("cli", "test_conformance"),
        ("__main__",),
    ),
}
#: Which packages each may import.
BELOW = {
    "nlcore": (),
    "nlcore_torch": ("nlcore",),
    "nlcore_keras": ("nlcore",),
    "nlcore_conformance": ("nlcore",),
}


def modules(package):
    return [path for path in PACKAGES[package].rglob("*.py") if path.name != "__init__.py"]


EVERY = [path for package in PACKAGES for path in modules(package)]


@pytest.fixture(scope="module")
def imports():
    """Module -> the modules that it imports; a package stands for its __init__."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}


def place(module):
    """The folder, or the module at the top, that an import leads to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_modules_are_small():
    assert len(EVERY) > 100
    lines = {str(path): path.read_text("utf-8").count("\n") for path in EVERY}
    long = {path: n for path, n in lines.items() if n > 300 and not path.endswith(DATA)}
    assert long == {}


def code_lines(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = first.end_lineno - first.lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_functions_are_small():
    long = {}
    for path in EVERY:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and code_lines(node) > 60:
                long[f"{path.name}:{node.name}"] = code_lines(node)
    assert long == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_have_a_dozen_modules_at_most(package):
    folders = itertools.groupby(sorted(modules(package)), key=lambda path: path.parent)
    counts = {folder.name: len(list(inside)) for folder, inside in folders}
    assert {folder: n for folder, n in counts.items() if n > 12} == {}


def differ_by_a_letter(a, b):
    if len(a) == len(b):
        return sum(x != y for x, y in zip(a, b, strict=True)) == 1
    short, long = sorted((a, b), key=len)
    return any(long[:k] + long[k + 1 :] == short for k in range(len(long)))


@pytest.mark.parametrize("package", PACKAGES)
def test_names_are_told_apart(package):
    names = [path.stem for path in modules(package)]
    assert sorted(set(names)) == sorted(names)
    alike = [pair for pair in itertools.combinations(names, 2) if differ_by_a_letter(*pair)]
    assert alike == []


def test_no_circle(imports):
    assert len(imports) > 100
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down(imports, package):
    floor = {name: n for n, names in enumerate(FLOORS[package]) for name in names}
    own = {m: to for m, to in imports.items() if m.split(".")[0] == package and place(m)}
    assert {place(module) for module in own} == set(floor)
    up = [
        f"{module} -> {other}"
        for module, others in own.items()
        for other in others
        if other.split(".")[0] == package
        and place(other)
        and place(other) != place(module)
        and floor[place(other)] >= floor[place(module)]
    ]
    assert up == []


def test_packages_import_those_below(imports):
    for module, others in imports.items():
        package = module.split(".")[0]
        assert {other.split(".")[0] for other in others} <= {package, *BELOW[package]}, module


def test_circles_and_upward_imports_are_seen():
    with pytest.raises(ValueError, match="cycle"):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
    assert differ_by_a_letter("block", "blocks") and differ_by_a_letter("response", "responsa")
    assert not differ_by_a_letter("block", "clock2")
