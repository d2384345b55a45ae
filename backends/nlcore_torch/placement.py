"""Where the non-local blocks of any PyTorch model stand, and what each takes of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nlcore import NonLocalSpec, block_cost
from nlcore.video.placed_blocks import Placed, PlacementReport, placed
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.insertion import evaluating, non_local_blocks
from nlcore_torch.operation.arguments import check_tensor
from nlcore_torch.operation.dot_product import dot_product_order


def placement_report(model: nn.Module, *example: Any) -> PlacementReport:
    """Where a model's non-local blocks stand, and what they take for one call with an example.

    Parameters
    ----------
    model
        Any module with `NonLocalBlock`s in it, inserted or its own. It is called once, in
        evaluation mode, without gradients and without its blocks, which pass x through: what they
        take is counted by the definition, see `nlcore.video.placed_blocks.Placed`.
    *example
        The arguments. Costs are those of the whole call: of one clip, for a batch of one.

    Returns
    -------
    PlacementReport
        Its multiply-adds are the blocks' and, of the rest, half of the operations that PyTorch
        counts (`torch.utils.flop_counter`: convolutions, matrix products, and attention where it
        runs on a GPU).

    Raises
    ------
    TypeError, ValueError
        An x that does not fit a block; and what the model raises.

    Notes
    -----
    A model on the device "meta", called with an example there, is not computed at all.

    Examples
    --------
    >>> from nlcore.video import NetworkSpec
    >>> from nlcore_torch.video.network import Network
    >>> network = Network(NetworkSpec().with_blocks(5), device="meta")
    >>> report = placement_report(network, torch.empty(1, 3, 32, 224, 224, device="meta"))
    >>> report.blocks[0].name, report.blocks[0].shape
    ('res3.1.non_local', (1, 512, 4, 28, 28))
    """
    found = non_local_blocks(model)
    calls: list[Placed] = []
    with evaluating(model), _passing_through(found, calls), torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            model(*example)
    called = {call.name for call in calls}
    for name, block in found.items():
        if name not in called:
            parameters = sum(p.numel() for p in block.parameters())
            calls.append(Placed(name, (), parameters, 0, 0, 0, 0))
    return PlacementReport(
        tuple(calls),
        sum(p.numel() for p in model.parameters()),
        counter.get_total_flops() // 2 + sum(call.multiply_adds for call in calls),
    )


def execution(spec: NonLocalSpec, positions: tuple[int, ...]) -> block_cost.Execution:
    """What this package executes for a block at x (B, C, *positions) in float32 and float64.

    The dot product's matrices are multiplied in the order of the fewest multiply-adds, the
    concatenation is prefix sums over sorted keys, and the Gaussians are as written.

    Raises
    ------
    ValueError
        Positions that are not of the spec's ndim, or smaller than its pooling window.
    """
    return block_cost.execution(spec, positions, dot_product_order)


@contextmanager
def _passing_through(found: Mapping[str, NonLocalBlock], calls: list[Placed]) -> Iterator[None]:
    """Blocks do nothing but to note, in `calls`, what a call of them takes."""

    def forward(name: str, x: Tensor) -> Tensor:
        spec = found[name].spec
        check_tensor(spec, x)
        call = placed(name, spec, tuple(x.shape), x.element_size(), execution)
        again = any(other.name == name for other in calls)
        calls.append(replace(call, parameters=0) if again else call)
        return x

    own = {
        name: block.__dict__.get("forward") for name, block in found.items()
    }  # if replaced before
    try:
        for name, block in found.items():
            block.__dict__["forward"] = partial(forward, name)
        yield
    finally:
        for name, block in found.items():
            del block.__dict__["forward"]
            if own[name] is not None:
                block.__dict__["forward"] = own[name]
