"""The bare non-local operation on embeddings, as tensors (B, N, D), (B, M, D), (B, M, V)."""

from __future__ import annotations

from torch import Tensor

from nlcore import NonLocalSpec
from nlcore.arguments import check_operation
from nlcore_torch.operation.arguments import dtype_name
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
) -> Tensor:
    """y_i = 1/C(x) sum_j f(theta_i, phi_j) g_j, with C(x) = sum_j f or the number M of j.

    Where C(x) = 0, y_i = 0. Memory is O(N + M): no N x M array is formed that is larger than an
    argument or y, but for chunks of a fixed size where no fused attention kernel takes the shape
    of a Gaussian.

    Parameters
    ----------
    spec : NonLocalSpec
        Gives the pairwise function, the normalization and the scale.
    theta, phi, g : (B, N, D), (B, M, D), (B, M, V)
        Embeddings of the positions i, of the positions j, and the values, of one dtype.
    f_weight, f_bias : (2D,), ()
        w_f, first D for theta, last D for phi, and b_f (default 0): concatenation's only.

    Returns
    -------
    y : (B, N, V), of the dtype of g

    Raises
    ------
    TypeError
        Arguments that are not floating-point tensors of one dtype.
    ValueError
        Shapes that do not go together, or f_weight with another pairwise function.

    Notes
    -----
    Twice differentiable, but for a GPU's fused attention kernel, which has a first derivative only:
    run under ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`` to differentiate that twice. The
    forward mode (``torch.func.jvp``) is there for all but the Gaussians of more than two chunks.

    Source: arXiv 1711.07971, Eq. 1 to 4 and Sec. 3.2.
    """
    given = {"theta": theta, "phi": phi, "g": g, "f_weight": f_weight, "f_bias": f_bias}
    tensors = {name: value for name, value in given.items() if value is not None}
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor; received {type(value).__name__}")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    dtypes = {name: dtype_name(tensor) for name, tensor in tensors.items()}
    check_operation(spec, shapes, dtypes, mixed=autocasts(theta))
    if f_weight is not None:
        theta_weight, phi_weight = f_weight.chunk(2)  # (D,), (D,)
        theta = logit_share(theta, theta_weight, f_bias).unsqueeze(2)  # (B, N, 1)
        phi = logit_share(phi, phi_weight).unsqueeze(2)  # (B, M, 1)
    return attend(spec, theta, phi, g)
