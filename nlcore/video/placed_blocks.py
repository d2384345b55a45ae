"""Where a model's non-local blocks stand, and what share of the whole each takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from nlcore.block_cost import Execution, block_cost
from nlcore.spec import NonLocalSpec
from nlcore.video.network import NetworkSpec, Sizes
from nlcore.video.network_cost import cost

#: What a backend executes for a spec at x (B, C, *positions): `nlcore_torch.execution`.
Executes = Callable[[NonLocalSpec, tuple[int, ...]], Execution]

#: Above the columns of a table; each % is of the model's.
HEAD: tuple[str, ...] = (
    *("block", "x", "parameters", "%", "multiply-adds", "%", "executed"),
    *("bytes kept", "bytes of pairs"),
)
_SUMMED = ("parameters", "multiply_adds", "pairs", "executed", "kept")


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
    pairs : int
        Bytes of one array of w_ij (N x M where all see all). nlcore keeps none. An implementation
        that follows the definition keeps one at least, and 2 D of them for the concatenation.
    executed : int or None
        Forward multiply-adds of a backend, where one is asked: `nlcore.block_cost.Execution`.
    kept : int or None
        Bytes that the backend's training keeps for the backward direction, where it can tell.
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
    def executed(self) -> int | None:
        """multiply_adds with blocks as the backend executes them, where one was asked."""
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
    """Where a network's non-local blocks stand, and what they take for one clip.

    Parameters
    ----------
    network : NetworkSpec
    positions : (T, H, W)
        Of the clip.
    itemsize : int
        Bytes of a number; 2 in half precision.
    executes : callable, optional
        What a backend executes, `nlcore_torch.execution` or `nlcore_keras.execution`. Without it
        the report is of the definition alone.

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
    """A block called with x of `shape`, (B, C, *positions), of `itemsize` bytes a number.

    Raises
    ------
    ValueError
        As `nlcore.block_cost.block_cost`.
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
    """None where one of them is."""
    known = list(numbers)
    return None if None in known else sum(n for n in known if n is not None)


def _short(number: int | None) -> str:
    """Three significant digits, and k, M, G or T."""
    if number is None:
        return ""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            value = number / 10**power
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {letter}"
    return str(number)


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}".removesuffix("%") if whole else ""
