"""NL-6 and NL-1.6 got wrong: which positions see each other."""

from __future__ import annotations

import math

import numpy as np

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call, Pairs
from nlcore_conformance.mutants.mutant import Respecified, Zoo

ZOO = Zoo()
ZOO.replace(
    "extent space ignored",
    "NL-6.2",
    "operation",
    "Every frame sees every other.",
    base=Respecified,
    other=lambda self, spec, positions: {"extent": "all"} if spec.extent == "space" else {},
)
ZOO.replace(
    "extent time ignored",
    "NL-6.3",
    "operation",
    "Every pixel sees every other.",
    base=Respecified,
    other=lambda self, spec, positions: {"extent": "all"} if spec.extent == "time" else {},
)
ZOO.replace(
    "space and time change places",
    "NL-6.2",
    "operation",
    "Space for time, and time for space.",
    base=Respecified,
    other=lambda self, spec, positions: {
        "extent": {"space": "time", "time": "space"}.get(spec.extent, spec.extent)
    },
)
ZOO.replace(
    "window ignored",
    "NL-6.4",
    "operation",
    "Frames see those of every window.",
    base=Respecified,
    other=lambda self, spec, positions: {"window": None},
)
ZOO.replace(
    "window counts the groups",
    "NL-6.4",
    "operation",
    "w is the number of groups rather than of the frames in each.",
    base=Respecified,
    other=lambda self, spec, positions: (
        {"window": positions[0] // spec.window} if spec.window else {}
    ),
)


@ZOO.wrong("windows one frame late", "NL-6.4", "operation")
class _LateWindows(Plain):
    """Groups begin at frame 1, the first and the last frame sharing one."""

    def fold(self, call: Call, x: np.ndarray) -> np.ndarray:
        return super().fold(call, np.roll(x, -1, 1) if call.spec.window else x)

    def unfold(self, call: Call, x: np.ndarray) -> np.ndarray:
        z = super().unfold(call, x)
        return np.roll(z, 1, 1) if call.spec.window else z


@ZOO.wrong("windows interleaved", "NL-6.4", "operation")
class _InterleavedWindows(Plain):
    """A group is every T/w-th frame rather than w consecutive ones."""

    def fold(self, call: Call, x: np.ndarray) -> np.ndarray:
        if not call.spec.window:
            return super().fold(call, x)
        b, t, *rest = x.shape
        groups = t // call.spec.window
        return super().fold(call, x.reshape(b, -1, groups, *rest).swapaxes(1, 2).reshape(x.shape))

    def unfold(self, call: Call, x: np.ndarray) -> np.ndarray:
        z = super().unfold(call, x)
        if not call.spec.window:
            return z
        b, t, *rest = z.shape
        return z.reshape(b, t // call.spec.window, -1, *rest).swapaxes(1, 2).reshape(z.shape)


@ZOO.wrong("pixels cut by a reshape", "NL-6.3", "operation")
class _TimeReshaped(Plain):
    """Extent time by a reshape without a transpose."""

    def fold(self, call: Call, x: np.ndarray) -> np.ndarray:
        if call.spec.extent != "time":
            return super().fold(call, x)
        b, t, h, w, c = x.shape
        return x.reshape(b * h * w, t, 1, 1, c)

    def unfold(self, call: Call, x: np.ndarray) -> np.ndarray:
        if call.spec.extent != "time":
            return super().unfold(call, x)
        return x.reshape(*call.shape[:-1], x.shape[-1])


@ZOO.wrong("pixels come back transposed", "NL-6.3", "operation")
class _PixelsTransposed(Plain):
    """With extent time and a square frame, y comes back with H and W in each other's place."""

    def unfold(self, call: Call, x: np.ndarray) -> np.ndarray:
        z = super().unfold(call, x)
        square = call.spec.extent == "time" and z.shape[2] == z.shape[3]
        return z.swapaxes(2, 3) if square else z


@ZOO.wrong("image comes back transposed", "NL-6.1", "operation")
class _ImageTransposed(Plain):
    """Of a square image, y comes back with H and W in each other's place."""

    def unfold(self, call: Call, x: np.ndarray) -> np.ndarray:
        z = super().unfold(call, x)
        square = call.spec.ndim == 2 and z.shape[1] == z.shape[2]
        return z.swapaxes(1, 2) if square else z


@ZOO.wrong("batch items see each other", "NL-1.6", "operation")
class _BatchTogether(Plain):
    """All the items of a batch are one set of positions."""

    def fold(self, call: Call, x: np.ndarray) -> np.ndarray:
        if call.spec.extent != "all" or call.spec.window:
            return super().fold(call, x)
        return x.reshape(1, -1, *x.shape[2:])


@ZOO.wrong("keys of the first item", "NL-1.6", "operation")
class _FirstKeys(Plain):
    """Every item of a batch sees the first one's positions."""

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        if call.spec.extent == "all" and not call.spec.window:
            phi, g = (np.repeat(a[:1], len(a), 0) for a in (phi, g))
        return super().operation(call, theta, phi, g)


class _Masked(Plain):
    """Some f are 0; N does not change."""

    def seen(self, call: Call, n: int, m: int) -> np.ndarray | bool:
        """Which of (N, M) pairs are kept."""
        raise NotImplementedError

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        return np.where(self.seen(call, *t.shape[1:]), super().pairwise(call, t), 0)


ZOO.replace(
    "only earlier positions",
    "NL-6.1",
    "operation",
    "i sees the positions up to its own.",
    base=_Masked,
    seen=lambda self, call, n, m: np.tri(n, m, dtype=bool) if n == m else True,
)
ZOO.replace(
    "not itself",
    "NL-6.1",
    "operation",
    "i sees every position but its own.",
    base=_Masked,
    seen=lambda self, call, n, m: ~np.eye(n, dtype=bool) if n == m > 1 else True,
)
ZOO.replace(
    "keys beyond 1024",
    "NL-6.1",
    "operation",
    "i sees the first 1024 positions only.",
    base=_Masked,
    seen=lambda self, call, n, m: np.arange(m) < 1024,
)


@ZOO.wrong("last odd frame", "NL-6.1", "operation")
class _OddFrame(_Masked):
    """Frames are read in pairs, and the last of an odd T is seen by none."""

    def seen(self, call: Call, n: int, m: int) -> np.ndarray | bool:
        frames = call.shape[1]
        if n != m or frames % 2 == 0 or frames == 1 or n != math.prod(call.shape[1:-1]):
            return True
        return np.arange(m) < m - m // frames
