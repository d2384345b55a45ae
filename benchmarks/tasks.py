"""What is measured: a block of some size, one way through it, and who computes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import PAIRWISE

#: The sizes of arXiv 1711.07971, Table 1 and Sec. 5.1: channels and (T, H, W). "inference" is
#: res3 of a 32-frame clip of 256 x 340 pixels, fully convolutional.
SIZES: dict[str, tuple[int, tuple[int, int, int]]] = {
    "res4": (1024, (4, 14, 14)),
    "res3": (512, (4, 28, 28)),
    "res3, 128 frames": (512, (16, 28, 28)),
    "res3, inference": (512, (4, 32, 43)),
}
#: forward: inference, without gradients. both: a training step, gradients of x and all weights.
DIRECTIONS = ("forward", "both")


@dataclass(frozen=True)
class Task:
    """One block, one batch item, and one direction."""

    channels: int
    positions: tuple[int, ...]
    pairwise: str
    direction: str = "forward"
    subsample: tuple[int, ...] | None = (1, 2, 2)
    dtype: str = "float32"
    name: str = ""  # of the size

    @property
    def spec(self) -> NonLocalSpec:
        return NonLocalSpec(self.channels, pairwise=self.pairwise, subsample=self.subsample)

    @property
    def queries(self) -> int:
        """N, the positions i."""
        return prod(self.positions)

    @property
    def keys(self) -> int:
        """M, the positions j."""
        return prod(n // w for n, w in zip(self.positions, self.spec.pool, strict=True))

    @property
    def line(self) -> str:
        """The task in a few words."""
        size = "x".join(map(str, self.positions))
        pooled = f"pooled {'x'.join(map(str, self.subsample))}" if self.subsample else "unpooled"
        return f"{self.name} {self.channels} {size} {pooled} {self.pairwise} {self.direction}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Task:
        tuples = {n: fields[n] and tuple(fields[n]) for n in ("positions", "subsample")}
        return Task(**fields | tuples)


def tasks(dtype: str = "float32") -> Iterator[Task]:
    """Every size, pairwise function and direction; res4 and the 128 frames unpooled as well."""
    for name, (channels, positions) in SIZES.items():
        for pairwise in PAIRWISE:
            for direction in DIRECTIONS:
                if name == "res3, inference" and direction == "both":
                    continue
                task = Task(channels, positions, pairwise, direction, dtype=dtype, name=name)
                yield task
                if name in ("res4", "res3, 128 frames"):
                    yield replace(task, subsample=None)


def growth(dtype: str = "float32") -> Iterator[Task]:
    """N doubled five times, for every pairwise function and direction, pooled (1, 2, 2)."""
    for pairwise in PAIRWISE:
        for direction in DIRECTIONS:
            for power in range(6):
                positions = (2**power, 28, 28)
                yield Task(256, positions, pairwise, direction, dtype=dtype, name="growth")


def arrays(task: Task) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Weights by name and x (1, C, *positions), float32: everything of the size that is usual."""
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in weight_shapes(task.spec).items():
        if name in ("bn.running_var", "bn.weight"):
            weights[name] = np.ones(shape, np.float32)
        elif name.startswith("bn."):
            weights[name] = np.zeros(shape, np.float32)
        else:
            weights[name] = (rng.normal(size=shape) / shape[-1] ** 0.5).astype(np.float32)
    x = rng.normal(size=(1, task.channels, *task.positions)).astype(np.float32)
    if task.pairwise in ("gaussian", "embedded_gaussian"):  # softmax weights neither 0 nor 1
        x *= task.channels**-0.25
    return weights, x
