"""Layers of the paper's networks as data, and the constants that all backends use."""

from __future__ import annotations

from dataclasses import dataclass

from nlcore.spec import NonLocalSpec

Sizes = tuple[int, int, int]

BN_EPS = 1e-5
#: Standard deviation of the initial weights of fc (C2).
FC_STD = 0.01

#: Number of residual blocks in res2, res3, res4 and res5, by depth.
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
#: The first two kernels of an inflated residual block. "none" is C2D.
INFLATIONS: dict[str, tuple[Sizes, Sizes]] = {
    "none": ((1, 1, 1), (1, 3, 3)),
    "3x1x1": ((3, 1, 1), (1, 3, 3)),
    "3x3x3": ((1, 1, 1), (3, 3, 3)),
}
#: Inflated residual blocks of res2, res3, res4 and res5 in I3D: patterns of 0 and 1 that are
#: repeated over a stage.
I3D = ((1,), (1, 0), (1, 0), (0, 1))
#: The same of SlowOnly, whose conv1 has one frame.
SLOW_ONLY = ((0,), (0,), (1,), (1,))
#: Residual blocks of res4 that three of the five non-local blocks follow, by depth.
FIVE = {50: (1, 3, 5), 101: (6, 13, 20)}
#: Values of `NetworkSpec.head`.
HEADS = ("mean", "windows", "window_logits")
#: Functions that make scores of logits.
ACTIVATIONS = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Conv:
    """A convolution with weights (outputs, inputs, *kernel), without bias, padded by kernel // 2.

    Batch normalization follows it, with weights under the name `norm`.
    """

    name: str
    norm: str
    inputs: int
    outputs: int
    kernel: Sizes
    stride: Sizes = (1, 1, 1)

    @property
    def padding(self) -> Sizes:
        t, h, w = self.kernel
        return (t // 2, h // 2, w // 2)


@dataclass(frozen=True)
class Pool:
    """Max-pooling, padded with values that are never the maximum."""

    name: str
    kernel: Sizes
    stride: Sizes
    padding: Sizes


@dataclass(frozen=True)
class Residual:
    """ReLU(convs(x) + shortcut(x)) with a ReLU between convolutions, then the non-local block."""

    name: str
    convs: tuple[Conv, Conv, Conv]
    shortcut: Conv | None
    non_local: NonLocalSpec | None


def check_activation(activation: str) -> None:
    """Raise a ValueError unless `activation` is one of `ACTIVATIONS`."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}; received {activation!r}")


def windows(side: int, height: int, width: int) -> tuple[int, int]:
    """Number of windows of `side` x `side` pixels with stride 1, along H and along W.

    Raises
    ------
    ValueError
        A window does not fit.
    """
    if min(height, width) < side:
        raise ValueError(
            f"res5 must have at least {side} x {side} pixels, the window of the head; received "
            f"{height} x {width}"
        )
    return height - side + 1, width - side + 1


def residual_names(depth: int) -> list[str]:
    """The names of all residual blocks: ["res2.0", "res2.1", ...]."""
    return [f"res{n + 2}.{k}" for n, count in enumerate(DEPTHS[depth]) for k in range(count)]


def placement(depth: int, count: int) -> tuple[str, ...]:
    """Residual blocks that the paper's 0, 1, 5 or 10 non-local blocks follow (Table 2c).

    One block is right before the last residual block of res4. Five blocks follow 1 and 3 of res3
    and 1, 3 and 5 of res4. In ResNet-101 (C2), the latter are 6, 13 and 20. Ten blocks follow every
    residual block of res3 and res4. The paper describes them for ResNet-50 only, and five blocks
    for ResNet-50 and 101.

    Raises
    ------
    ValueError
        The depth is unknown, or there is no placement of `count` blocks for it.

    Examples
    --------
    >>> placement(50, 1)
    ('res4.4',)
    """
    if depth not in DEPTHS:
        raise ValueError(f"depth must be one of {tuple(DEPTHS)}; received {depth}")
    last = DEPTHS[depth][2] - 1
    known: dict[int, tuple[str, ...]] = {0: (), 1: (f"res4.{last - 1}",)}
    if depth in FIVE:
        known[5] = ("res3.1", "res3.3", *(f"res4.{k}" for k in FIVE[depth]))
    if depth == 50:
        known[10] = tuple(n for n in residual_names(50) if n.startswith(("res3", "res4")))
    if count not in known:
        raise ValueError(
            f"count must be one of {tuple(known)} for ResNet-{depth}; received {count}"
        )
    return known[count]
