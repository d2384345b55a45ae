"""The examples of every object that docs/api.md lists run."""

from __future__ import annotations

import doctest
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

API = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## [^\n]*: `([\w.]+)`\n(.*?)(?=^## |\Z)", API, re.DOTALL | re.MULTILINE)
LISTED = {module: re.findall(r"^   (\w+)$", section, re.MULTILINE) for module, section in SECTIONS}
#: Packages that an environment may lack. torchvision fits one version of torch only.
OPTIONAL = ("keras", "ml_dtypes", "torch", "torchvision")


def imported(module):
    """The module with its objects, or a skipped test if one of `OPTIONAL` is missing."""
    try:
        found = import_module(module)
        for name in LISTED[module]:
            getattr(found, name)  # some modules import an object's module on its first use
        return found
    except ImportError as error:
        if error.name and error.name.split(".")[0] in OPTIONAL:
            pytest.skip(f"{module} needs {error.name}")
        raise


@pytest.mark.parametrize("module", LISTED)
def test_examples(module):
    found = imported(module)
    finder = doctest.DocTestFinder()
    failed: list[str] = []
    for name in LISTED[module]:
        thing = getattr(found, name)
        names = vars(inspect.getmodule(thing))
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        for test in finder.find(thing, f"{module}.{name}", globs=dict(names)):
            runner.run(test, out=failed.append)
    assert not failed, "".join(failed)


@pytest.mark.parametrize("module", LISTED)
def test_every_object_is_described(module):
    found = imported(module)
    for name in LISTED[module]:
        text = inspect.getdoc(getattr(found, name)) or ""
        assert len(text.split("\n")[0]) > 15, f"{module}.{name} needs a docstring"
