"""The costs of a network layer by layer: output shapes, parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from nlcore.block_cost import block_cost
from nlcore.spec import NonLocalSpec
from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import Conv, Pool, Sizes


@dataclass(frozen=True)
class Row:
    """The cost of one layer for one clip.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Shape of the output, (C, *positions).
    parameters : int
        For a convolution, this includes the weight and bias of the batch normalization after it.
    multiply_adds : int
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def cost(network: NetworkSpec, positions: Sizes = (32, 224, 224)) -> tuple[Row, ...]:
    """The cost of every layer, in the order of computation, for one clip of size (T, H, W).

    Multiply-adds are counted as in the paper's Table 2e: convolutions, the products in non-local
    blocks, and fc. Normalization, pooling and activations are not counted.

    Raises
    ------
    ValueError
        The clip is too small for a layer. The message names the layer.

    Examples
    --------
    >>> rows = cost(NetworkSpec())
    >>> rows[0].name, rows[0].shape
    ('conv1', (64, 16, 112, 112))
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
                yield (row := _non_local(name, residual.non_local, row.shape[1:]))
    windows = network.windows(*row.shape[2:])
    weights = network.features * network.classes
    shape = (network.classes, *windows)
    yield Row("fc", shape, weights + network.classes, weights * prod(windows))


def _non_local(name: str, spec: NonLocalSpec, size: tuple[int, ...]) -> Row:
    try:
        cost = block_cost(spec, size)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Row(name, (spec.channels, *size), cost.parameters, cost.multiply_adds)


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
        raise ValueError(f"{name}: positions must fit its kernel {kernel}; received {size}")
    return out
