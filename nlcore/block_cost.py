"""Costs of one block: positions, parameters and multiply-adds, as defined and as executed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

from nlcore.spec import NonLocalSpec
from nlcore.weights import RUNNING, weight_shapes

#: Chooses the order of the dot product's matrix products. The arguments are those of
#: `dot_product_costs`, and the result is one of its keys.
DotProductOrder = Callable[[int, int, int, int, int | None], str]


class Counts(NamedTuple):
    """Numbers of positions in a block, for one item of the batch.

    Attributes
    ----------
    queries : int
        Number of positions i.
    keys : int
        Number of positions j, after subsampling.
    embedded : int
        Number of positions at which phi and g are computed: `keys` if x is pooled, else `queries`.
    pairs : int
        Number of pairs of a position i and a position j that i sees.
    """

    queries: int
    keys: int
    embedded: int
    pairs: int


class BlockCost(NamedTuple):
    """Cost of a block computed as its definition is written, for one item of the batch.

    Attributes
    ----------
    parameters : int
        Number of parameters, without running statistics.
    multiply_adds : int
        Forward, with a product for every pair of positions that see each other.
    pairs : int
        Number of weights w_ij. It is N M if every position sees all others.
    """

    parameters: int
    multiply_adds: int
    pairs: int


class Execution(NamedTuple):
    """Cost of a block as a backend executes it, for one item of the batch.

    Attributes
    ----------
    multiply_adds : int
        Forward, without sorting and without products of weights with weights.
    kept : int or None
        Number of array elements that training stores from the forward to the backward direction.
        These are theta, phi and g (phi and g after pooling), the pooled x if x is pooled, y,
        W_z y + b if batch normalization follows, and z. x, the indices of pooled maxima, and copies
        are not counted. None if the engine of the backend decides what is stored.
    """

    multiply_adds: int
    kept: int | None


def seen(spec: NonLocalSpec, sizes: Sequence[int]) -> int:
    """How many positions of a grid of these sizes one position sees."""
    frames, others = sizes[0], prod(sizes[1:])
    return {"space": others, "time": frames}.get(spec.extent, (spec.window or frames) * others)


def counts(spec: NonLocalSpec, positions: tuple[int, ...]) -> Counts:
    """Numbers of positions in a block with input x (B, C, *positions).

    Raises
    ------
    ValueError
        The number of position axes is not `spec.ndim`, or an axis is smaller than its pooling
        window.

    Examples
    --------
    >>> found = counts(NonLocalSpec(8, subsample=(1, 2, 2)), (4, 14, 14))
    >>> found.queries, found.keys, found.pairs
    (784, 196, 153664)
    """
    if len(positions) != spec.ndim:
        raise ValueError(f"positions must have {spec.ndim} axes; received {positions}")
    pooled = [k // w for k, w in zip(positions, spec.pool, strict=True)]
    if 0 in pooled:
        raise ValueError(
            f"positions must be at least the pooling window {spec.pool}; received {positions}"
        )
    queries, keys = prod(positions), prod(pooled)
    embedded = keys if spec.subsample_at == "input" else queries
    return Counts(queries, keys, embedded, queries * seen(spec, pooled))


def block_cost(spec: NonLocalSpec, positions: tuple[int, ...]) -> BlockCost:
    """Cost of a block with input x (B, C, *positions), computed as its definition is written.

    Raises
    ------
    ValueError
        See `counts`.

    Examples
    --------
    >>> block_cost(NonLocalSpec(8, ndim=1), (10,)).multiply_adds  # 2 N C (D + V) + N M (D + V)
    2080
    """
    n, keys, embedded, pairs = counts(spec, positions)
    c, d, v = spec.channels, spec.inner_channels, spec.value_channels
    per_pair = {"gaussian": c + v, "concatenation": v}.get(spec.pairwise, d + v)
    products = n * c * v + embedded * c * v  # W_z and g
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
    """Multiply-adds of the dot product for one batch item, by the order of the matrix products.

    ==========  =====================  ===============
    order       products               multiply-adds
    ==========  =====================  ===============
    "keys"      theta (phi^T g)        (M + N) D V
    "pairs"     (theta phi^T) g        N M (D + V)
    "merged"    theta (phi^T g W_z^T)  (M + C) D V
    ==========  =====================  ===============

    They are counted from the embeddings to y, without the product with W_z. The last product of
    "merged" is not counted either, because it takes the place of the product with W_z.

    Parameters
    ----------
    queries, keys, inner, values : int
        N, M, D and V.
    channels : int, optional
        C. Without it the order "merged" is left out.

    Notes
    -----
    If "pairs" costs least, its N x M array has fewer entries than the embeddings together.
    """
    costs = {
        "keys": (keys + queries) * inner * values,
        "pairs": queries * keys * (inner + values),
    }
    if channels is not None:
        costs["merged"] = (keys + channels) * inner * values
    return costs


def execution(spec: NonLocalSpec, positions: tuple[int, ...], order: DotProductOrder) -> Execution:
    """Cost of a block with input x (B, C, *positions), as nlcore's backends execute it.

    The backends compute the matrix products of the dot product in the order that `order` chooses,
    and the concatenation by prefix sums over sorted keys. They compute the Gaussians as their
    definition is written.

    Raises
    ------
    ValueError
        See `counts`.
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
    d, v = spec.inner_channels, spec.value_channels
    parts = n * keys // pairs  # positions see their own part only
    whole = spec.extent == "all" and spec.window is None and spec.normalization == "count"
    sizes = (n // parts, keys // parts, d, v, spec.channels if whole else None)
    chosen = order(*sizes)
    products = block_cost(spec, positions).multiply_adds - pairs * (d + v)
    products += parts * dot_product_costs(*sizes)[chosen]
    if spec.normalization == "sum":
        products += n * d  # C(x)
    beside = {"merged": -n * v, "pairs": pairs, "keys": 0}  # "merged" has no y, "pairs" stores f
    return Execution(products, _kept(spec, positions) + beside[chosen])


def _concatenation(spec: NonLocalSpec, positions: tuple[int, ...]) -> int:
    """Multiply-adds, where a_i and b_j of the logits are products of x with vectors of length C."""
    n, keys, embedded, _ = counts(spec, positions)
    c, d, v = spec.channels, spec.inner_channels, spec.value_channels
    products = n * c + n * c * v + embedded * c * v  # a, W_z, g
    if spec.subsample is not None and spec.subsample_at == "embedding":  # phi is pooled, so needed
        products += embedded * c * d + keys * d  # phi, b
    else:
        products += embedded * c  # b
    columns = v + (spec.normalization == "sum")
    return products + (n + keys) * columns  # prefix sums over keys, then one lookup per query


def _kept(spec: NonLocalSpec, positions: tuple[int, ...]) -> int:
    """`Execution.kept` for the dot product in the order "keys" and for the other functions."""
    n, keys, _, _ = counts(spec, positions)
    c, d, v = spec.channels, spec.inner_channels, spec.value_channels
    kept = keys * v + n * v + n * c  # g, y, z
    if spec.embedded:
        kept += n * d + keys * d  # theta, phi
    if spec.subsample is not None and (spec.subsample_at == "input" or not spec.embedded):
        kept += keys * c  # x, as pooled
    return kept + n * c if spec.batch_norm else kept
