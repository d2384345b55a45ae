"""Checks and properties of the tensor arguments of the block and of the bare operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from nlcore import NonLocalSpec, check_input
from nlcore_torch.operation.precision import autocasts
from nlcore_torch.operation.recording import without_tracer_warnings


def dtype_name(tensor: Tensor) -> str:
    """The name of the tensor's dtype, such as "float32"."""
    return str(tensor.dtype).removeprefix("torch.")


def check_tensor(spec: NonLocalSpec, x: Tensor) -> None:
    """Raise TypeError or ValueError unless x is a tensor and a valid input for the spec.

    As in torch's own layers, the batch can be empty.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch.Tensor; received {type(x).__name__}")
    shape = tuple(x.shape)
    with without_tracer_warnings():  # the check is of the example alone
        check_input(spec, (1, *shape[1:]) if is_empty(x) else shape, dtype_name(x))


def is_empty(x: Tensor) -> bool:
    """Whether the batch of x (B, C, *positions) is empty, B = 0."""
    with without_tracer_warnings():
        return 0 in x.shape[:1]


def is_channels_last(x: Tensor) -> bool:
    """Whether x (B, C, *positions) is channels-last in memory, and not channels-first too."""
    return x.movedim(1, -1).is_contiguous() and not x.is_contiguous()


def nothing(x: Tensor, terms: Iterable[Tensor]) -> Tensor:
    """z for an empty batch x. As with torch's own layers, the gradients of `terms` are 0."""
    return x + sum(0 * term.sum() for term in terms)


def check_dtypes(x: Tensor, weights: Mapping[str, Tensor]) -> None:
    """Raise TypeError unless the weights have the dtype of x.

    The weights of batch normalization can also be float32. Under autocast, which mixes dtypes on
    purpose, nothing is checked.
    """
    if autocasts(x):
        return
    for name, weight in weights.items():
        if not isinstance(weight, Tensor):
            raise TypeError(f"weight {name!r} must be a tensor; received {type(weight).__name__}")
        allowed = (x.dtype, torch.float32) if name.startswith("bn.") else (x.dtype,)
        if weight.dtype not in allowed:
            raise TypeError(
                f"x and weight {name!r} must have one dtype; received x {x.dtype} and "
                f"weight {weight.dtype}"
            )


def check_memory_budget(memory_budget: int | None) -> None:
    """Raise TypeError or ValueError unless the budget is a number of bytes or None."""
    if memory_budget is None:
        return
    if not isinstance(memory_budget, int) or isinstance(memory_budget, bool):
        raise TypeError(f"memory_budget must be an int or None; received {memory_budget!r}")
    if memory_budget < 0:
        raise ValueError(f"memory_budget must not be negative; received {memory_budget}")
