"""How the Numba kernels are compiled, and where they are kept."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import event

#: Decorator of small scalar functions. They are inlined, so that the caller's loop vectorises.
inlined = numba.njit(inline="always")

_log = logging.getLogger("nlcore")


def compiled(function: Callable[..., Any]) -> Any:
    """Decorator of kernels, which Numba compiles when they are first called.

    There is no fastmath, because a reference must not reorder sums. A kernel releases the GIL, so
    that threads run in parallel. It is kept on disk, if Numba finds a folder that can be written.
    """
    kernel: Any = numba.njit(nogil=True)(function)
    try:
        kernel.enable_caching()
    except RuntimeError:  # no such folder
        _notice.kept = False
    else:
        # By itself, Numba would use a kernel after a change of what it calls in another file.
        kernel._cache._cache_file._source_stamp = _sources()
    return kernel


@cache
def _sources() -> str:
    """A digest of the source of all kernels and of what they call."""
    folder = Path(__file__).parents[1]
    names = ("reference", "non_local_means", "video/sampling")
    files = [p for name in names for p in (folder / name).glob("*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


class _Notice(event.Listener):
    """Says once per process that kernels are being compiled."""

    kept = True
    said = False

    def on_start(self, event: Any) -> None:
        ours = event.data["dispatcher"].py_func.__module__.startswith("nlcore.")
        if self.said or not ours:
            return
        self.said = True
        _log.warning(
            "compiling the reference's kernels takes some seconds%s",
            ""
            if self.kept
            else ", in every process, because no folder to keep them in can be "
            "written; NUMBA_CACHE_DIR can name one",
        )

    def on_end(self, event: Any) -> None:
        pass


_notice = _Notice()
event.register("numba:compile", _notice)
