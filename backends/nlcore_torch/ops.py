"""The block in functional form, with its checks and its batch normalization."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nlcore import NonLocalSpec, check_input, check_weights
from nlcore_torch.arithmetic import autocasts
from nlcore_torch.response import response


def non_local_block(
    spec: NonLocalSpec, weights: Mapping[str, Tensor], x: Tensor, training: bool = False
) -> Tensor:
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j).

    Parameters
    ----------
    spec : NonLocalSpec
    weights : mapping of name to tensor
        Just the names and shapes of `nlcore.weight_shapes(spec)`, of the dtype of x (those of
        batch normalization may be float32 beside a half-precision x).
    x : (B, C, *positions)
        float16, bfloat16, float32 or float64, of any strides.
    training : bool
        Normalize with the batch's mean and biased variance over B and all positions, rather
        than with the running statistics. The running statistics are never changed here; that
        is `NonLocalBlock`'s.

    Returns
    -------
    z : (B, C, *positions), of the dtype and memory format of x

    Raises
    ------
    TypeError, ValueError
        See `nlcore.check_input` and `nlcore.check_weights`; or dtypes that differ, other than
        under autocast.

    Notes
    -----
    Half precisions multiply matrices in their dtype; logits, softmax sums, normalizers, prefix
    sums and batch statistics are float32. Concatenation computes w_f . (W x) as (w_f W) . x,
    which can be infinite at an infinite x where the formula is infinity - infinity, NaN.
    See `non_local_operation` for second derivatives.

    Source: arXiv 1711.07971, Eq. 6 and Sec. 3.3, 4.1.
    """
    check_tensor(spec, x)
    check_weights(spec, weights)
    check_dtypes(x, weights)
    if not spec.batch_norm:
        return x + response(spec, weights, x)
    # state, which has no gradient
    mean = None if training else weights["bn.running_mean"].detach()
    variance = None if training else weights["bn.running_var"].detach()
    slope, bias = weights["bn.weight"], weights["bn.bias"]
    return x + batch_norm(response(spec, weights, x), slope, bias, mean, variance, spec.eps)


def check_tensor(spec: NonLocalSpec, x: Tensor) -> None:
    """Raise TypeError or ValueError unless x is a tensor that fits the spec."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch.Tensor; received {type(x).__name__}")
    check_input(spec, tuple(x.shape), str(x.dtype).removeprefix("torch."))


def check_dtypes(x: Tensor, weights: Mapping[str, Tensor]) -> None:
    """Raise TypeError unless the weights have x's dtype; autocast mixes dtypes on purpose."""
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


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    eps: float,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, per channel of x (B, C, *positions).

    Without mean and variance they are the batch's, the variance biased.
    """
    if mean is None and x.numel() == x.shape[1]:
        # torch's own leaves rounding errors of mean / sqrt(eps) where x - mean is 0
        shape = (-1, *[1] * (x.ndim - 2))
        return (x - x) * weight.view(shape) + bias.view(shape)
    cudnn = torch.backends.cudnn.enabled
    return torch.batch_norm(x, weight, bias, mean, variance, mean is None, 0.0, eps, cudnn)
