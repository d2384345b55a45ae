"""A package imported anew, with one of its modules from another source."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType


class _Loader(SourceFileLoader):
    """Runs another source in place of the module's file."""

    def __init__(self, module: str, file: str, text: str) -> None:
        super().__init__(module, file)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._text, self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module, with another source."""

    def __init__(self, module: str, file: str, text: str) -> None:
        self._module, self._loader = module, _Loader(module, file, text)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._module:
            return None
        return importlib.util.spec_from_file_location(name, loader=self._loader)


def forget(package: str) -> None:
    """Let the next import of the package, and of every module in it, run its source again."""
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        del sys.modules[name]


def beforehand(modules: Iterable[str]) -> None:
    """Import what can be imported of these modules, so that forked processes need not."""
    for name in modules:
        with contextlib.suppress(Exception):  # whatever a part of a framework may raise
            importlib.import_module(name)


def replace(module: str, file: str, text: str) -> None:
    """Let the next import of a module, whose source is in `file`, run `text` instead."""
    sys.meta_path.insert(0, _Finder(module, file, text))
