"""From a name to a backend: an entry point, an import path `module:attr`, or `all`."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint, entry_points

from nlcore_conformance.protocol import Backend, as_backend

GROUP = "nlcore.backends"


class CannotRun(Exception):
    """The backend could not be had; the message is one line that says what to do."""


def installed() -> dict[str, EntryPoint]:
    """The backends that installed distributions name, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def names(requested: list[str]) -> list[str]:
    """`requested` with `all` replaced by every installed backend."""
    expanded: list[str] = []
    for name in requested:
        # "keras" is one of the three engines, which all stand in the list by their own names
        expanded += [n for n in sorted(installed()) if n != "keras"] if name == "all" else [name]
    return list(dict.fromkeys(expanded))


def load(name: str) -> Backend:
    """The backend of this name or import path.

    Raises
    ------
    CannotRun
        Unknown name, a module that cannot be imported, or an object of another form.
    """
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        sys.path.insert(0, "")  # an adapter in the folder that one stands in, as with pytest -m
        try:
            found = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise CannotRun(f"{name} cannot be imported: {error}") from error
        finally:
            sys.path.remove("")
    else:
        known = installed()
        if name not in known:
            raise CannotRun(
                f"unknown backend {name!r}: expected one of {', '.join(sorted(known))}, "
                "or an import path module:attribute"
            )
        try:
            found = known[name].load()
        except ImportError as error:
            raise CannotRun(f"{name} needs a package that is missing: {_hint(error)}") from error
    try:
        return as_backend(found, name)
    except ImportError as error:
        raise CannotRun(f"{name} needs a package that is missing: {_hint(error)}") from error
    except (TypeError, RuntimeError) as error:
        raise CannotRun(f"{name}: {error}") from error


def _hint(error: ImportError) -> str:
    extras = {"torch": "nlcore[torch]", "keras": "nlcore[keras]"}
    wanted = error.name or str(error)
    return f"pip install '{extras.get(wanted, wanted)}'"
