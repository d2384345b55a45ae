"""What one block costs: positions, parameters and multiply-adds, as defined and as executed."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from nlcore.spec import NonLocalSpec
from nlcore.weights import RUNNING, weight_shapes

#: Sizes of one item's dot product -> its order of products, a key of `dot_product_costs`.
DotProductOrder = Callable[[int, int, int, int, int | None], str]


class Counts(NamedTuple):
    """How many positions a block computes with, for one item of the batch."""

    queries: int  # positions i
    keys: int  # positions j, after pooling
    embedded: int  # where phi and g are computed: before pooling, unless x is pooled
    pairs: int  # of a position i and a position j that it sees


class BlockCost(NamedTuple):
    """A block as its definition is written, for one item of the batch."""

    parameters: int
    multiply_adds: int  # with a product over all pairs of positions that see each other
    pairs: int  # how many w_ij there are: N M where every position sees every other


class Execution(NamedTuple):
    """A block as a backend executes it, for one item of the batch.

    Attributes
    ----------
    multiply_adds : int
        Forward. Sorting is left out, and products of weights with weights.
    kept : int or None
        Numbers that training keeps from the forward to the backward direction: theta, phi, g (phi
        and g as pooled, and x where x is pooled), y, W_z y + b before batch normalization, and z.
        Left out are x, the places of pooled maxima, and copies. None where an engine decides.
    """

    multiply_adds: int
    kept: int | None


def counts(spec: NonLocalSpec, positions: tuple[int, ...]) -> Counts:
    """The counts of a block at x (B, C, *positions).

    Raises
    ------
    ValueError
        Positions that are not of the spec's ndim, or smaller than its pooling window.
    """
    if len(positions) != spec.ndim:
        raise ValueError(f"positions must be {spec.ndim}; received {positions}")
    pooled = [k // w for k, w in zip(positions, spec.pool, strict=True)]
    if 0 in pooled:
        raise ValueError(f"positions {positions} are smaller than subsample {spec.pool}")
    queries, keys = prod(positions), prod(pooled)
    frames, pixels = pooled[0], prod(pooled[1:])
    seen = {"space": pixels, "time": frames}.get(spec.extent, (spec.window or frames) * pixels)
    embedded = keys if spec.subsample_at == "input" else queries
    return Counts(queries, keys, embedded, queries * seen)


def block_cost(spec: NonLocalSpec, positions: tuple[int, ...]) -> BlockCost:
    """The cost of a block at x (B, C, *positions), as its definition is written.

    Raises
    ------
    ValueError
        As `counts`.

    Examples
    --------
    >>> block_cost(NonLocalSpec(8, ndim=1), (10,)).multiply_adds  # 4 N C D + N M 2 D
    2080
    """
    n, keys, embedded, pairs = counts(spec, positions)
    c, d = spec.channels, spec.inner_channels
    per_pair = {"gaussian": c + d, "concatenation": d}.get(spec.pairwise, 2 * d)
    products = n * c * d + embedded * c * d  # W_z and g
    if spec.embedded:
        products += n * c * d + embedded * c * d  # theta and phi
    if spec.pairwise == "concatenation":
        products += (n + keys) * d  # w_f
    shapes = weight_shapes(spec)
    parameters = sum(prod(shape) for name, shape in shapes.items() if name not in RUNNING)
    return BlockCost(parameters, products + pairs * per_pair, pairs)


def dot_product_costs(
    queries: int, keys: int, inner: int, values: int, channels: int | None = None
) -> dict[str, int]:
    """Multiply-adds between the embeddings and W_z of one item, by the order of the products.

    ==========  ====================  ============================================
    "keys"      theta (phi^T g)       (M + N) D V
    "pairs"     (theta phi^T) g       N M (D + V)
    "folded"    theta (phi^T g W_z^T) (M + C) D V, and theta's product is W_z's
    ==========  ====================  ============================================

    Without `channels`, C, nothing is folded into W_z. Where "pairs" costs least, there are fewer
    pairs than the embeddings have entries.
    """
    costs = {
        "keys": (keys + queries) * inner * values,
        "pairs": queries * keys * (inner + values),
    }
    if channels is not None:
        costs["folded"] = (keys + channels) * inner * values
    return costs


def execution(spec: NonLocalSpec, positions: tuple[int, ...], order: DotProductOrder) -> Execution:
    """The cost of a block at x (B, C, *positions) as nlcore's backends execute it.

    The dot product's matrices are multiplied in the `order` that the backend chooses. The
    concatenation is prefix sums over sorted keys. The Gaussians are as written.

    Raises
    ------
    ValueError
        As `counts`.
    """
    if spec.pairwise == "dot_product":
        return _dot_product(spec, positions, order)
    if spec.pairwise == "concatenation":
        products = _concatenation(spec, positions)
    else:
        products = block_cost(spec, positions).multiply_adds
    return Execution(products, _kept(spec, positions))


def _dot_product(
    spec: NonLocalSpec, positions: tuple[int, ...], order: DotProductOrder
) -> Execution:
    n, keys, _, pairs = counts(spec, positions)
    d, parts = spec.inner_channels, n * keys // pairs  # parts do not see each other
    whole = spec.extent == "all" and spec.window is None and spec.normalization == "count"
    sizes = (n // parts, keys // parts, d, d, spec.channels if whole else None)
    chosen = order(*sizes)
    products = block_cost(spec, positions).multiply_adds - 2 * pairs * d
    products += parts * dot_product_costs(*sizes)[chosen]
    if spec.normalization == "sum":
        products += n * d  # C(x)
    beside = {"folded": -n * d, "pairs": pairs, "keys": 0}  # no y, or f beside it
    return Execution(products, _kept(spec, positions) + beside[chosen])


def _concatenation(spec: NonLocalSpec, positions: tuple[int, ...]) -> int:
    """Multiply-adds: a logit's shares a_i and b_j are products of x with a vector of length C."""
    n, keys, embedded, _ = counts(spec, positions)
    c, d = spec.channels, spec.inner_channels
    products = n * c + n * c * d + embedded * c * d  # a, W_z, g
    if spec.subsample is not None and spec.subsample_at == "embedding":  # phi itself is pooled
        products += embedded * c * d + keys * d  # phi, b
    else:
        products += embedded * c  # b
    columns = d + (spec.normalization == "sum")
    return products + (n + keys) * columns  # prefix sums at the keys, read at the queries


def _kept(spec: NonLocalSpec, positions: tuple[int, ...]) -> int:
    """Numbers that one item's gradient needs beside x, and z."""
    n, keys, _, _ = counts(spec, positions)
    c, d = spec.channels, spec.inner_channels
    kept = keys * d + n * d + n * c  # g, y, z
    if spec.embedded:
        kept += n * d + keys * d  # theta, phi
    if spec.subsample is not None and (spec.subsample_at == "input" or not spec.embedded):
        kept += keys * c  # x, as pooled
    return kept + n * c if spec.batch_norm else kept
