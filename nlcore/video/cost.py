"""What a network costs, layer by layer: shapes, parameters, multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from nlcore.spec import NonLocalSpec
from nlcore.video.network import Conv, NetworkSpec, Pool, Sizes
from nlcore.weights import weight_shapes


@dataclass(frozen=True)
class Row:
    """One layer: what it puts out, (C, *positions), and what that takes for one clip."""

    name: str
    shape: tuple[int, ...]
    parameters: int  # of batch normalization: its scale and its shift
    multiply_adds: int


def cost(network: NetworkSpec, positions: Sizes = (32, 224, 224)) -> tuple[Row, ...]:
    """Rows of every layer in order, for clips of `positions` (T, H, W).

    Multiply-adds are those of convolutions, products over pairs and fc, as Table 2e counts them;
    normalization, pooling and activations are left out.

    Raises
    ------
    ValueError
        A size that a pooling or a non-local block does not take, naming the layer.
    """
    return tuple(_rows(network, positions))


def _rows(network: NetworkSpec, size: Sizes) -> Iterator[Row]:
    conv1, pool1 = network.stem
    yield (row := _conv(conv1, size))
    yield (row := _pool(pool1, row))
    for number, stage in enumerate(network.stages):
        if number == 1:
            yield (row := _pool(network.pool2, row))
        for residual in stage:
            before = row.shape[1:]
            if residual.shortcut is not None:
                yield _conv(residual.shortcut, before)
            for conv in residual.convs:
                yield (row := _conv(conv, row.shape[1:]))
            if residual.non_local is not None:
                name = f"{residual.name}.non_local"
                yield (row := non_local_cost(name, residual.non_local, row.shape[1:]))
    weights = network.features * network.classes
    yield Row("fc", (network.classes, 1, 1, 1), weights + network.classes, weights)


class Counts(NamedTuple):
    """How many positions a non-local block computes with."""

    queries: int  # i
    keys: int  # j, those that pooling leaves
    embedded: int  # where phi and g are computed: before pooling, unless x is pooled
    pairs: int  # i and j that it sees


def non_local_counts(name: str, spec: NonLocalSpec, positions: tuple[int, ...]) -> Counts:
    """Of a non-local block at x (C, *positions); errors as `non_local_cost`."""
    if len(positions) != spec.ndim:
        raise ValueError(f"{name}: positions must be {spec.ndim}; received {positions}")
    pooled = [k // w for k, w in zip(positions, spec.pool, strict=True)]
    if 0 in pooled:
        raise ValueError(f"{name}: positions {positions} are smaller than subsample {spec.pool}")
    queries, keys = prod(positions), prod(pooled)
    frames, pixels = pooled[0], prod(pooled[1:])
    seen = {"space": pixels, "time": frames}.get(spec.extent, (spec.window or frames) * pixels)
    embedded = keys if spec.subsample_at == "input" else queries
    return Counts(queries, keys, embedded, queries * seen)


def non_local_cost(name: str, spec: NonLocalSpec, positions: tuple[int, ...]) -> Row:
    """A non-local block at x (C, *positions) with a product over all pairs that it sees.

    Raises
    ------
    ValueError
        Positions that are not of the spec's ndim, or smaller than its pooling window.
    """
    n, keys, embedded, pairs = non_local_counts(name, spec, positions)
    c, d = spec.channels, spec.inner_channels
    per_pair = {"gaussian": c + d, "concatenation": d}.get(spec.pairwise, 2 * d)
    products = n * c * d + embedded * c * d  # W_z and g
    if spec.embedded:
        products += n * c * d + embedded * c * d  # theta and phi
    if spec.pairwise == "concatenation":
        products += (n + keys) * d  # w_f
    shapes = weight_shapes(spec)
    parameters = sum(prod(s) for part, s in shapes.items() if not part.startswith("bn.running"))
    return Row(name, (c, *positions), parameters, products + pairs * per_pair)


def _conv(conv: Conv, size: tuple[int, ...]) -> Row:
    at = _out(conv.name, size, conv.kernel, conv.stride, conv.padding)
    weights = conv.inputs * conv.outputs * prod(conv.kernel)
    return Row(conv.name, (conv.outputs, *at), weights + 2 * conv.outputs, weights * prod(at))


def _pool(pool: Pool, row: Row) -> Row:
    at = _out(pool.name, row.shape[1:], pool.kernel, pool.stride, pool.padding)
    return Row(pool.name, (row.shape[0], *at), 0, 0)


def _out(
    name: str, size: tuple[int, ...], kernel: Sizes, stride: Sizes, padding: Sizes
) -> tuple[int, ...]:
    out = tuple(
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True)
    )
    if min(out) < 1:
        raise ValueError(f"{name}: positions {size} are too small for its kernel {kernel}")
    return out
