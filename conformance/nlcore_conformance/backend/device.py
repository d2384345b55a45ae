"""A backend on the device that the command line names."""

from __future__ import annotations

from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.backend.resolve import CannotRun, load


def load_on(device: str | None, name: str) -> Backend:
    """The backend of this name or import path, its `device` set where one is given.

    Raises
    ------
    CannotRun
        See `resolve.load`; or the backend has no device to set.
    """
    backend = load(name)
    if device is not None:
        if not hasattr(backend, "device"):
            raise CannotRun(f"{name} has no attribute `device` to set to {device!r}")
        backend.device = device
    return backend
