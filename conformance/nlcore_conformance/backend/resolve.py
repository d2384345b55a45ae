"""From a name to a backend: an entry point, an import path `module:attr`, or `all`."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from nlcore_conformance.backend.protocol import Backend, CannotRun, as_backend, one_line

GROUP = "nlcore.backends"


def installed() -> dict[str, EntryPoint]:
    """The backends that installed distributions name, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def names(requested: list[str]) -> list[str]:
    """`requested` with `all` replaced by every installed backend.

    Raises
    ------
    CannotRun
        A name that is neither an installed backend's nor an import path.
    """
    expanded: list[str] = []
    for name in requested:
        # without "keras", which is one of the three engines: each would run twice
        expanded += [n for n in sorted(installed()) if n != "keras"] if name == "all" else [name]
    known = sorted(installed())
    for name in expanded:
        if ":" not in name and name not in known:
            raise CannotRun(
                f"unknown backend {name!r}: expected one of {', '.join(known)}, "
                "or an import path module:attribute"
            )
    return list(dict.fromkeys(expanded))


def load(name: str, device: str | None = None) -> Backend:
    """The backend of this name or import path; with `device`, its attribute `device` is set.

    Raises
    ------
    CannotRun
        Unknown name, a module that cannot be imported, an object of another form, or one without
        an attribute `device`.
    """
    found = _import(name)
    try:
        backend = as_backend(found, name)
    except ImportError as error:
        raise CannotRun(f"{name} needs a package that is missing: {_hint(error)}") from error
    except Exception as error:  # whatever someone's class may raise
        raise CannotRun(f"{name} cannot be used: {one_line(error)}") from error
    if device is not None:
        if not hasattr(backend, "device"):
            raise CannotRun(f"{name} has no attribute `device` to set to {device!r}")
        backend.device = device
    return backend


def _import(name: str) -> Any:
    """The object that an entry point or an import path leads to."""
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # an adapter in the current folder
        try:
            found = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as error:  # whatever someone's module may raise
            raise CannotRun(f"{name} cannot be imported: {one_line(error)}") from error
        return found
    names([name])
    try:
        return installed()[name].load()
    except ImportError as error:
        raise CannotRun(f"{name} needs a package that is missing: {_hint(error)}") from error


def _hint(error: ImportError) -> str:
    """The command that installs the missing package."""
    extras = {
        "torch": "nlcore[torch]",
        "keras": "nlcore[keras]",
        "tensorflow": "tensorflow-cpu",
    }
    wanted = error.name or str(error)
    return f"pip install '{extras.get(wanted, wanted)}'"
