"""The bare non-local operation, which takes the embeddings theta, phi and g."""

from __future__ import annotations

from torch import Tensor

from nlcore import NonLocalSpec
from nlcore.arguments import check_operation
from nlcore_torch.operation.arguments import check_memory_budget, dtype_name
from nlcore_torch.operation.concatenation import logit_share
from nlcore_torch.operation.precision import autocasts
from nlcore_torch.operation.stages import attend


def non_local_operation(
    spec: NonLocalSpec,
    theta: Tensor,
    phi: Tensor,
    g: Tensor,
    f_weight: Tensor | None = None,
    f_bias: Tensor | None = None,
    memory_budget: int | None = None,
) -> Tensor:
    """y_i = 1/C(x) sum_j f(theta_i, phi_j) g_j, where C(x) is sum_j f or the number M of j.

    Where C(x) = 0, y_i = 0. Memory is O(N + M). The Gaussians allocate chunks of pairs of a fixed
    size, and store what `memory_budget` permits. If theta and phi are one tensor, a Gaussian
    computes f_ij = f_ji once.

    Parameters
    ----------
    spec : NonLocalSpec
        Determines the pairwise function, the normalization and the scale. Other fields are not
        read.
    theta : (B, N, D)
        Embeddings of the positions i.
    phi, g : (B, M, D), (B, M, V)
        Embeddings of the positions j, with the dtype of theta.
    f_weight : (2D,)
        w_f, for concatenation only. The first D entries multiply theta_i and the last D phi_j.
    f_bias : (), optional
        b_f, for concatenation only. Default 0.
    memory_budget : int, optional
        See `non_local_block`.

    Returns
    -------
    y : (B, N, V), with the dtype of g

    Raises
    ------
    TypeError
        The arguments are not floating-point tensors of one dtype, or the budget is not an int.
    ValueError
        The shapes are inconsistent, the budget is negative, f_weight is missing for concatenation,
        or f_weight or f_bias is given for another pairwise function.

    Notes
    -----
    Second derivatives exist, except for the fused attention kernels of a GPU, which have only first
    derivatives. To differentiate those twice, use
    ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``. Forward-mode derivatives
    (``torch.func.jvp``) exist, except for Gaussians of more than two chunks.

    Source: arXiv 1711.07971, Eq. 1 to 4 and Sec. 3.2.

    Examples
    --------
    >>> import torch
    >>> spec = NonLocalSpec(1, 1, pairwise="dot_product")
    >>> x = torch.tensor([[[1.0], [2.0]]])  # (B, N, D)
    >>> non_local_operation(spec, x, x, x).flatten()  # x_i (1 + 4) / 2
    tensor([2.5000, 5.0000])
    """
    given = {"theta": theta, "phi": phi, "g": g, "f_weight": f_weight, "f_bias": f_bias}
    tensors = {name: value for name, value in given.items() if value is not None}
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor; received {type(value).__name__}")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    dtypes = {name: dtype_name(tensor) for name, tensor in tensors.items()}
    check_operation(spec, shapes, dtypes, mixed=autocasts(theta))
    check_memory_budget(memory_budget)
    if f_weight is not None:
        theta_weight, phi_weight = f_weight.chunk(2)  # (D,), (D,)
        theta = logit_share(theta, theta_weight, f_bias).unsqueeze(2)  # (B, N, 1)
        phi = logit_share(phi, phi_weight).unsqueeze(2)  # (B, M, 1)
    return attend(spec, theta, phi, g, memory_budget)
