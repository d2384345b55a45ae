"""Where a model's non-local blocks stand, and what each takes of the whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nlcore.association import dot_product_costs, dot_product_order
from nlcore.spec import NonLocalSpec
from nlcore.video.cost import cost, non_local_cost, non_local_counts
from nlcore.video.network import NetworkSpec, Sizes

#: Above the columns of a table; each % is of the model's.
HEAD: tuple[str, ...] = (
    *("block", "x", "parameters", "%", "multiply-adds", "%", "executed"),
    *("bytes kept", "bytes of pairs"),
)


@dataclass(frozen=True)
class Placed:
    """A non-local block in a model, and what one call of it takes.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of x, (B, C, *positions); () where the model does not call the block.
    parameters : int
        0 where a block is called again.
    multiply_adds : int
        As the definition is written: a product over all pairs of positions that see each other.
    executed : int
        Forward, as nlcore_torch associates the products in float32 and float64: the dot product's
        in the cheapest order (see `nlcore.association`), concatenation's as prefix sums over sorted
        keys. The function is the same. Sorting is left out, and products of weights with weights.
    kept : int
        Bytes that training keeps from the forward to the backward direction: theta, phi, g (phi
        and g as pooled, and x where x is pooled), y, W_z y + b before batch normalization, and z;
        of a dot product no y where it is folded into W_z, and f where all pairs are few.
        Left out are x, where pooling found its maxima, and copies. Linear in the number of
        positions.
    pairs : int
        Bytes of one array of w_ij (N x M where all see all). nlcore keeps none; who computes as it
        is written keeps one at least, and concatenation's theta_i, phi_j are 2 D of them.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    executed: int
    kept: int
    pairs: int


@dataclass(frozen=True)
class PlacementReport:
    """A model's non-local blocks and its totals; ``str`` of it is a table.

    Attributes
    ----------
    blocks : tuple of Placed
        In the order of their calls; those that the model does not call come last.
    parameters, multiply_adds : int
        Of the whole model, with blocks as they are written.
    """

    blocks: tuple[Placed, ...]
    parameters: int
    multiply_adds: int

    @property
    def executed(self) -> int:
        """multiply_adds, with blocks as nlcore executes them."""
        return self.multiply_adds - sum(b.multiply_adds - b.executed for b in self.blocks)

    def __str__(self) -> str:
        lines = [HEAD]
        for b in self.blocks:
            costs = (b.parameters, b.multiply_adds, b.executed)
            lines.append(
                self._cells(b.name, str(b.shape or "not called"), costs, (b.kept, b.pairs))
            )
        names = ("parameters", "multiply_adds", "executed", "kept", "pairs")
        sums = [sum(getattr(b, name) for b in self.blocks) for name in names]
        lines.append(self._cells("all blocks", "", sums[:3], sums[3:]))
        lines.append(
            self._cells("the model", "", (self.parameters, self.multiply_adds, self.executed))
        )
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if n < 2 else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def _cells(
        self, name: str, x: str, costs: Iterable[int], memory: Iterable[int] = ()
    ) -> tuple[str, ...]:
        parameters, multiply_adds, executed = costs
        kept, pairs = (_short(size) for size in memory) if memory else ("", "")
        return (
            name,
            x,
            f"{parameters:,}",
            _percent(parameters, self.parameters),
            _short(multiply_adds),
            _percent(multiply_adds, self.multiply_adds),
            _short(executed),
            kept,
            pairs,
        )


def placement_report(
    network: NetworkSpec, positions: Sizes = (32, 224, 224), itemsize: int = 4
) -> PlacementReport:
    """Where a network's non-local blocks stand, and what they take for one clip.

    Parameters
    ----------
    network : NetworkSpec
    positions : (T, H, W)
        Of the clip.
    itemsize : int
        Bytes of a number; 2 in half precision.

    Raises
    ------
    ValueError
        As `cost`.

    Examples
    --------
    >>> report = placement_report(NetworkSpec().with_blocks(1))
    >>> [(block.name, block.shape) for block in report.blocks]
    [('res4.4.non_local', (1, 1024, 4, 14, 14))]
    """
    rows = cost(network, positions)
    specs = {
        f"{residual.name}.non_local": residual.non_local
        for stage in network.stages
        for residual in stage
        if residual.non_local is not None
    }
    return PlacementReport(
        tuple(
            placed(row.name, specs[row.name], (1, *row.shape), itemsize)
            for row in rows
            if row.name in specs
        ),
        sum(row.parameters for row in rows),
        sum(row.multiply_adds for row in rows),
    )


def placed(name: str, spec: NonLocalSpec, shape: tuple[int, ...], itemsize: int) -> Placed:
    """A block called with x of `shape`, (B, C, *positions), of `itemsize` bytes a number.

    Raises
    ------
    ValueError
        As `nlcore.video.cost.non_local_cost`.
    """
    batch, positions = shape[0], shape[2:]
    row = non_local_cost(name, spec, positions)
    return Placed(
        name,
        shape,
        row.parameters,
        batch * row.multiply_adds,
        batch * _executed(name, spec, positions),
        batch * itemsize * _kept(name, spec, positions),
        batch * itemsize * non_local_counts(name, spec, positions).pairs,
    )


def _executed(name: str, spec: NonLocalSpec, positions: tuple[int, ...]) -> int:
    """Multiply-adds of nlcore's algorithm for one item."""
    n, keys, embedded, pairs = non_local_counts(name, spec, positions)
    c, d = spec.channels, spec.inner_channels
    by_sum = spec.normalization == "sum"
    written = non_local_cost(name, spec, positions).multiply_adds
    if spec.pairwise == "dot_product":
        parts, sizes = _dot_product(name, spec, positions)
        cheapest = min(dot_product_costs(*sizes).values())
        return written - 2 * pairs * d + parts * cheapest + by_sum * n * d
    if spec.pairwise != "concatenation":
        return written
    # the shares a_i and b_j of a logit are products of x with a vector of length C, but where phi
    # is pooled
    products = n * c + n * c * d + embedded * c * d  # a, W_z, g
    if spec.subsample is not None and spec.subsample_at == "embedding":
        products += embedded * c * d + keys * d  # phi, b
    else:
        products += embedded * c
    return products + (n + keys) * (d + by_sum)  # sums at the keys, and at the queries


def _dot_product(
    name: str, spec: NonLocalSpec, positions: tuple[int, ...]
) -> tuple[int, tuple[int, int, int, int, int | None]]:
    """How many parts of an item do not see each other, and `dot_product_costs`' sizes of one."""
    n, keys, _, pairs = non_local_counts(name, spec, positions)
    d, parts = spec.inner_channels, n * keys // pairs
    whole = spec.extent == "all" and spec.window is None and spec.normalization == "count"
    channels = spec.channels if whole else None
    return parts, (n // parts, keys // parts, d, d, channels)


def _kept(name: str, spec: NonLocalSpec, positions: tuple[int, ...]) -> int:
    """Numbers that one item's gradient needs beside x, and z."""
    n, keys, _, pairs = non_local_counts(name, spec, positions)
    c, d = spec.channels, spec.inner_channels
    kept = keys * d + n * d + n * c  # g, y, z
    if spec.embedded:
        kept += n * d + keys * d  # theta, phi
    if spec.pairwise == "dot_product":
        order = dot_product_order(*_dot_product(name, spec, positions)[1])
        kept += {"folded": -n * d, "pairs": pairs, "keys": 0}[order]  # no y, or f beside it
    if spec.subsample is not None and (spec.subsample_at == "input" or not spec.embedded):
        kept += keys * c  # x, as pooled
    return kept + n * c if spec.batch_norm else kept


def _short(number: int) -> str:
    """Three significant digits, and k, M, G or T."""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            value = number / 10**power
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {letter}"
    return str(number)


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}".removesuffix("%") if whole else ""
