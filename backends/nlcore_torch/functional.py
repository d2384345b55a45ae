"""The block as a function of its weights and x."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from nlcore import NonLocalSpec, check_weights
from nlcore_torch.batch_norm import batch_norm
from nlcore_torch.operation.arguments import (
    check_dtypes,
    check_memory_budget,
    check_tensor,
    is_empty,
    nothing,
)
from nlcore_torch.operation.stages import response


def non_local_block(
    spec: NonLocalSpec,
    weights: Mapping[str, Tensor],
    x: Tensor,
    training: bool = False,
    memory_budget: int | None = None,
) -> Tensor:
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j).

    Parameters
    ----------
    spec : NonLocalSpec
    weights : mapping of name to tensor
        Exactly the names and shapes of `nlcore.weight_shapes(spec)`, with the dtype of x. The
        weights of batch normalization can also be float32.
    x : (B, C, *positions)
        float16, bfloat16, float32 or float64, with any strides.
    training : bool
        Whether batch normalization uses the mean and the biased variance of this batch, over B and
        all positions. If False, it uses the running statistics. This function never changes them,
        but `NonLocalBlock` does.
    memory_budget : int, optional
        Bytes of weights w_ij that the Gaussians may store for their gradients, instead of computing
        them twice. By default 8 D weights for each position i, where D is the width of theta, so
        that memory is linear in the number of positions. With 0, only blocks of at most two chunks
        (2^22 pairs) store them. On a GPU, torch's fused attention stores none, and neither does the
        Gaussian without subsampling.

    Returns
    -------
    z : (B, C, *positions), with the dtype and memory format of x

    Raises
    ------
    TypeError, ValueError
        See `nlcore.check_input` and `nlcore.check_weights`. Also if dtypes differ, except under
        autocast, or if the memory budget is neither None nor an int of at least 0.

    Notes
    -----
    In half precision, products of matrices are computed in the dtype of x. Logits, softmax sums,
    normalizers, prefix sums and batch statistics are computed in float32.

    The concatenation computes w_f . (W x) as (w_f W) . x. If x is infinite, this can be infinite
    where the formula is infinity - infinity, which is NaN.

    `non_local_operation` describes which second derivatives exist.

    Source: arXiv 1711.07971, Eq. 6 and Sec. 3.3, 4.1.

    Examples
    --------
    >>> import torch
    >>> spec = NonLocalSpec(1, 1, ndim=1, pairwise="dot_product", batch_norm=False)
    >>> weights = {f"{name}.weight": torch.ones(1, 1) for name in ("theta", "phi", "g", "out")}
    >>> non_local_block(spec, weights, torch.tensor([[[1.0, -2.0]]]))  # y_i = x_i (1 + 4) / 2
    tensor([[[ 3.5000, -7.0000]]])
    """
    check_tensor(spec, x)
    check_weights(spec, weights)
    check_dtypes(x, weights)
    check_memory_budget(memory_budget)
    if is_empty(x):
        return nothing(x, weights.values())
    if not spec.batch_norm:
        return x + response(spec, weights, x, memory_budget)
    # the running statistics have no gradient
    mean = None if training else weights["bn.running_mean"].detach()
    variance = None if training else weights["bn.running_var"].detach()
    slope, bias = weights["bn.weight"], weights["bn.bias"]
    return x + batch_norm(
        response(spec, weights, x, memory_budget), slope, bias, mean, variance, spec.eps
    )
