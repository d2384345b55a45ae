"""Placement report: the non-local blocks of a model, their costs, and their shares of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from nlcore.block_cost import Execution, block_cost
from nlcore.spec import NonLocalSpec
from nlcore.video.network import NetworkSpec
from nlcore.video.network_cost import cost
from nlcore.video.network_layers import Sizes

#: The cost of a block with input x (B, C, *positions) in a backend, as `nlcore_torch.execution`.
Executes = Callable[[NonLocalSpec, tuple[int, ...]], Execution]

#: Headings of the table's columns. A % is the share of the model's number in the column before it.
HEAD: tuple[str, ...] = (
    *("block", "x", "parameters", "%", "multiply-adds", "%", "executed"),
    *("bytes kept", "bytes of pairs"),
)
_SUMMED = ("parameters", "multiply_adds", "pairs", "executed", "kept")


@dataclass(frozen=True)
class Placed:
    """One call of a non-local block in a model, and its cost.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Shape of x, (B, C, *positions), or () if the model does not call the block.
    parameters : int
        Number of parameters. It is 0 for the second and every later call of one block.
    multiply_adds : int
        Forward multiply-adds of the definition as it is written, with a product for every pair of
        positions that see each other.
    pairs : int
        Bytes of one array of all w_ij, N x M numbers if every position sees all others. nlcore does
        not store such an array. An implementation that follows the definition stores at least one,
        and the size of 2 D of them for the concatenation.
    executed : int or None
        Forward multiply-adds that a backend executes, see `nlcore.block_cost.Execution`. None
        without a backend.
    kept : int or None
        Bytes that the backend stores for the backward direction in training. None if it cannot be
        determined.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    pairs: int
    executed: int | None = None
    kept: int | None = None


@dataclass(frozen=True)
class PlacementReport:
    """The non-local blocks of a model and the totals of the model. ``str(report)`` is a table.

    Attributes
    ----------
    blocks : tuple of Placed
        One entry per call of a block, in the order of the calls. Blocks that the model does not
        call come last.
    parameters, multiply_adds : int
        Totals of the whole model, where the blocks count by their definition.
    """

    blocks: tuple[Placed, ...]
    parameters: int
    multiply_adds: int

    @property
    def executed(self) -> int | None:
        """multiply_adds with the blocks as the backend executes them, or None without a backend."""
        saved = [b.multiply_adds - b.executed for b in self.blocks if b.executed is not None]
        return None if len(saved) < len(self.blocks) else self.multiply_adds - sum(saved)

    def __str__(self) -> str:
        sums = [_sum(getattr(b, name) for b in self.blocks) for name in _SUMMED]
        rows = [
            HEAD,
            *(self._row(b.name, str(b.shape or "not called"), b) for b in self.blocks),
            self._row("all blocks", "", Placed("", (), *sums)),  # type: ignore[arg-type]
            self._row("the model", "", self),
        ]
        columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
        widths = [max(map(len, column)) for column in columns]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if n < 2 else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in zip(*columns, strict=True)
        )

    def _row(self, name: str, x: str, costs: Placed | PlacementReport) -> tuple[str, ...]:
        return (
            name,
            x,
            f"{costs.parameters:,}",
            _percent(costs.parameters, self.parameters),
            _short(costs.multiply_adds),
            _percent(costs.multiply_adds, self.multiply_adds),
            _short(costs.executed),
            _short(getattr(costs, "kept", None)),
            _short(getattr(costs, "pairs", None)),
        )


def placement_report(
    network: NetworkSpec,
    positions: Sizes = (32, 224, 224),
    itemsize: int = 4,
    executes: Executes | None = None,
) -> PlacementReport:
    """The non-local blocks of a network and their costs for one clip.

    Parameters
    ----------
    network : NetworkSpec
    positions : (T, H, W)
        Size of the clip.
    itemsize : int
        Bytes per number: 4 for float32, 2 for half precision.
    executes : callable, optional
        `nlcore_torch.execution` or `nlcore_keras.execution`, for the costs in that backend. Without
        it the report contains the costs of the definition only.

    Returns
    -------
    PlacementReport

    Raises
    ------
    ValueError
        See `cost`.

    Examples
    --------
    >>> report = placement_report(NetworkSpec().with_blocks(1))
    >>> [(block.name, block.shape) for block in report.blocks]
    [('res4.4.non_local', (1, 1024, 4, 14, 14))]
    """
    rows = cost(network, positions)
    specs = network.blocks
    return PlacementReport(
        tuple(
            placed(row.name, specs[row.name], (1, *row.shape), itemsize, executes)
            for row in rows
            if row.name in specs
        ),
        sum(row.parameters for row in rows),
        sum(row.multiply_adds for row in rows),
    )


def placed(
    name: str,
    spec: NonLocalSpec,
    shape: tuple[int, ...],
    itemsize: int,
    executes: Executes | None = None,
) -> Placed:
    """The cost of one call of a block with x of `shape` (B, C, *positions).

    `itemsize` is the number of bytes per number.

    Raises
    ------
    ValueError
        See `nlcore.block_cost.block_cost`.
    """
    batch, positions = shape[0], shape[2:]
    own = block_cost(spec, positions)
    found = Placed(
        name, shape, own.parameters, batch * own.multiply_adds, batch * itemsize * own.pairs
    )
    if executes is None:
        return found
    products, kept = executes(spec, positions)
    return replace(
        found,
        executed=batch * products,
        kept=None if kept is None else batch * itemsize * kept,
    )


def _sum(numbers: Iterable[int | None]) -> int | None:
    """The sum, or None if one of the numbers is None."""
    known = list(numbers)
    return None if None in known else sum(n for n in known if n is not None)


def _short(number: int | None) -> str:
    """The number with three significant digits and k, M, G or T, such as "1.23 G"."""
    if number is None:
        return ""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            value = number / 10**power
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {letter}"
    return str(number)


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}".removesuffix("%") if whole else ""
