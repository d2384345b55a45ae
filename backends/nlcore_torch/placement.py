"""Placement report: the non-local blocks of any PyTorch model and their costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nlcore import NonLocalSpec, block_cost
from nlcore.video.placed_blocks import Placed, PlacementReport, placed
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.insertion import non_local_blocks
from nlcore_torch.modes import evaluating
from nlcore_torch.operation.arguments import check_tensor
from nlcore_torch.operation.dot_product import dot_product_order
from nlcore_torch.operation.gaussian import kept_weights


def placement_report(model: nn.Module, *example: Any) -> PlacementReport:
    """The non-local blocks of a model and their costs for one call with an example.

    Parameters
    ----------
    model : nn.Module
        Any module that contains non-local blocks. It is called once, in evaluation mode and without
        gradients. The blocks return x during this call. Their costs are those of their definition,
        see `nlcore.video.placed_blocks.Placed`.
    *example
        The arguments of the call. The costs are those of the whole batch. For the costs of one
        clip, pass a batch of one.

    Returns
    -------
    PlacementReport
        Its multiply-adds are those of the blocks, plus half of the operations that PyTorch counts
        in the rest of the model. `torch.utils.flop_counter` counts convolutions, matrix products,
        and attention on a GPU.

    Raises
    ------
    TypeError, ValueError
        The input of a block is not valid for it. Errors of the model are not caught.

    Notes
    -----
    If the model and the example are on the device "meta", nothing is computed.

    Examples
    --------
    >>> from nlcore.video import NetworkSpec
    >>> from nlcore_torch.video.network import Network
    >>> network = Network(NetworkSpec().with_blocks(5), device="meta")
    >>> report = placement_report(network, torch.empty(1, 3, 32, 224, 224, device="meta"))
    >>> report.blocks[0].name, report.blocks[0].shape
    ('res3.1.non_local', (1, 512, 4, 28, 28))
    """
    # imported here, because it imports triton, which takes a second
    from torch.utils.flop_counter import FlopCounterMode

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
    """Cost of a block with input x (B, C, *positions) in this package, in float32 and float64.

    The dot product is computed in the order with the fewest multiply-adds, and the concatenation by
    prefix sums over sorted keys. The Gaussians are computed as their definition is written. `kept`
    includes the weights w_ij that they store on a CPU, with the default memory budget.

    Raises
    ------
    ValueError
        The number of position axes is not `spec.ndim`, or an axis is smaller than its pooling
        window.

    Examples
    --------
    >>> execution(NonLocalSpec(8, ndim=1), (10,)).multiply_adds
    2080
    """
    found = block_cost.execution(spec, positions, dot_product_order)
    if spec.pairwise not in ("gaussian", "embedded_gaussian"):
        return found
    n, keys, _, pairs = block_cost.counts(spec, positions)
    parts = n * keys // pairs  # positions see their own part only
    sizes = n // parts, keys // parts
    width = spec.inner_channels if spec.embedded else spec.channels
    if not spec.embedded and spec.subsample is None:  # t_ij = t_ji
        width = 0
    return found._replace(kept=(found.kept or 0) + parts * kept_weights(*sizes, width))


@contextmanager
def _passing_through(found: Mapping[str, NonLocalBlock], calls: list[Placed]) -> Iterator[None]:
    """A context in which blocks return x and append the cost of each call to `calls`."""

    def forward(name: str, x: Tensor) -> Tensor:
        spec = found[name].spec
        check_tensor(spec, x)
        call = placed(name, spec, tuple(x.shape), x.element_size(), execution)
        again = any(other.name == name for other in calls)
        calls.append(replace(call, parameters=0) if again else call)
        return x

    own = {
        name: block.__dict__.get("forward") for name, block in found.items()
    }  # set if someone replaced forward before
    try:
        for name, block in found.items():
            block.__dict__["forward"] = partial(forward, name)
        yield
    finally:
        for name, block in found.items():
            del block.__dict__["forward"]
            if own[name] is not None:
                block.__dict__["forward"] = own[name]
