"""The block as a function of its weights and x."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from nlcore import NonLocalSpec, check_weights
from nlcore_torch.batch_norm import batch_norm
from nlcore_torch.operation.arguments import check_dtypes, check_tensor
from nlcore_torch.operation.stages import response


def non_local_block(
    spec: NonLocalSpec, weights: Mapping[str, Tensor], x: Tensor, training: bool = False
) -> Tensor:
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j).

    Parameters
    ----------
    spec : NonLocalSpec
    weights : mapping of name to tensor
        Exactly the names and shapes of `nlcore.weight_shapes(spec)`, of the dtype of x. Those of
        batch normalization may be float32 beside a half-precision x.
    x : (B, C, *positions)
        float16, bfloat16, float32 or float64, of any strides.
    training : bool
        Normalize with the batch's mean and biased variance over B and all positions, rather
        than with the running statistics. This function never changes the running statistics;
        `NonLocalBlock` does.

    Returns
    -------
    z : (B, C, *positions), of the dtype and memory format of x

    Raises
    ------
    TypeError, ValueError
        See `nlcore.check_input` and `nlcore.check_weights`; or dtypes that differ, except under
        autocast.

    Notes
    -----
    Half precisions multiply matrices in their dtype. Logits, softmax sums, normalizers, prefix
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
