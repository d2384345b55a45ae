"""The environment of a run: versions, platform and device."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import packages_distributions, version
from types import ModuleType
from typing import Any

import nlcore

#: Reported if they are imported, even if another package imported them.
_FRAMEWORKS = ("cupy", "jax", "keras", "mxnet", "numba", "numpy", "paddle", "tensorflow", "torch")


def environment(backend: Any) -> dict[str, str]:
    """Name -> version or description, of this process and this backend."""
    out = {"nlcore": nlcore.__version__, "specification": nlcore.SPEC_VERSION}
    out["python"] = platform.python_version()
    imported = {name for name in _FRAMEWORKS if name in sys.modules} | _used(backend)
    distributions = packages_distributions()
    for module in sorted(imported):
        for name in distributions.get(module, [])[:1]:
            out[name] = version(name)
    device = getattr(backend, "device", None) or "not said"
    return out | {"platform": platform.platform(), "device": str(device)}


def _used(backend: Any) -> set[str]:
    """Top-level names of the packages that the backend's module imports from."""
    module = sys.modules.get(getattr(backend.block, "__module__", ""))
    names = set()
    for value in vars(module).values() if module else ():
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
        names.add(str(home).partition(".")[0])
    return names & set(sys.modules) - set(sys.stdlib_module_names)
