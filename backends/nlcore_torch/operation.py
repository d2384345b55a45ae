"""The bare non-local operation on embeddings, as tensors (B, N, D), (B, M, D), (B, M, V)."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore import NonLocalSpec
from nlcore.association import dot_product_order
from nlcore_torch.arithmetic import autocasts, divided, scaled_product, sum_dtype, without_autocast
from nlcore_torch.concatenation import concatenation
from nlcore_torch.gaussian import gaussian


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
    _check(spec, theta, phi, g, f_weight, f_bias)
    if f_weight is None:
        return operation(spec, theta, phi, g)
    theta_weight, phi_weight = f_weight.chunk(2)  # (D,), (D,)
    a = project(theta, theta_weight, f_bias)  # (B, N)
    b = project(phi, phi_weight)  # (B, M)
    return concatenation(a, b, g, spec.normalization == "sum")


def operation(spec: NonLocalSpec, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    """`non_local_operation` for checked arguments, without concatenation's f_weight."""
    by_sum = spec.normalization == "sum"
    if spec.pairwise == "dot_product":
        return dot_product(theta, phi, g, spec.scale, by_sum)
    return gaussian(theta, phi, g, spec.scale, by_sum)


def project(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows (B, N, D) times weight (D,) plus bias () -> (B, N), a logit's share in its dtype."""
    dtype = sum_dtype(rows)
    with without_autocast(rows):
        # by a (D, 1) matrix: onnxruntime 1.32 computes its fused product with a vector wrong
        logits = (rows.to(dtype) @ weight.to(dtype).unsqueeze(1)).squeeze(2)  # (B, N)
        return logits if bias is None else logits + bias.to(dtype)


def dot_product(theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool) -> Tensor:
    """y = s (theta phi^T) g / C, by the cheaper order of products -> (B, N, V)."""
    share = scale / phi.shape[1]  # C(x) = M: dividing first keeps a half-precision sum in range
    if not by_sum:
        return _dot_product(theta, phi, g, share)
    dtype = sum_dtype(theta)  # before the division by C a product may be out of half's range
    with without_autocast(theta):
        rows, keys = theta.to(dtype), phi.to(dtype)  # (B, N, D), (B, M, D)
        y = _dot_product(rows, keys, g.to(dtype), share)  # (B, N, V)
        total = rows @ (keys.sum(1, keepdim=True) * share).mT  # (B, N, 1): C / M
    return divided(y, total).to(g.dtype)


def _dot_product(theta: Tensor, phi: Tensor, g: Tensor, share: float) -> Tensor:
    """(theta phi^T) g times share; no more is held than the arguments have entries."""
    if chooses_order(theta):
        sizes = (theta.shape[1], phi.shape[1], theta.shape[2], g.shape[2])
        if dot_product_order(*sizes) == "pairs":
            return scaled_product(theta, phi.mT, share) @ g  # (B, N, M), then (B, N, V)
    return theta @ scaled_product(phi.mT, g, share)  # (B, D, V), then (B, N, V)


def chooses_order(tensor: Tensor) -> bool:
    """Whether products are associated by their sizes: keys first otherwise.

    In half precision the product of other matrices may leave the range of the dtype, and an
    exported graph is for other sizes too.
    """
    full = tensor.dtype == sum_dtype(tensor) and not autocasts(tensor)
    return full and not torch.compiler.is_exporting()


def _check(
    spec: NonLocalSpec,
    theta: Tensor,
    phi: Tensor,
    g: Tensor,
    f_weight: Tensor | None,
    f_bias: Tensor | None,
) -> None:
    if (f_weight is None) == (spec.pairwise == "concatenation"):
        raise ValueError(
            "f_weight (2D,) goes with pairwise='concatenation' and with no other; received "
            f"f_weight={_seen(f_weight)} with pairwise={spec.pairwise!r}"
        )
    if f_bias is not None and f_weight is None:
        raise ValueError(f"f_bias is the concatenation's; received pairwise={spec.pairwise!r}")
    given = {"theta": theta, "phi": phi, "g": g, "f_weight": f_weight, "f_bias": f_bias}
    for name, tensor in given.items():
        if tensor is None and name.startswith("f_"):
            continue
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise TypeError(f"{name} must be a floating-point tensor; received {_seen(tensor)}")
        if tensor.dtype != theta.dtype and not autocasts(theta):
            raise TypeError(
                f"{name} must have theta's dtype {theta.dtype}; received dtype {tensor.dtype}"
            )
    shapes = f"theta {tuple(theta.shape)}, phi {tuple(phi.shape)}, g {tuple(g.shape)}"
    if not (
        theta.ndim == phi.ndim == g.ndim == 3
        and theta.shape[0] == phi.shape[0] == g.shape[0]
        and theta.shape[2] == phi.shape[2]
        and phi.shape[1] == g.shape[1]
        and 0 not in (*theta.shape, *phi.shape, *g.shape)
    ):
        raise ValueError(
            "theta, phi and g must have shapes (B, N, D), (B, M, D) and (B, M, V) with no axis "
            f"of size 0; received {shapes}"
        )
    for name, expected in (("f_weight", (2 * theta.shape[2],)), ("f_bias", ())):
        tensor = given[name]
        if tensor is not None and tuple(tensor.shape) != expected:
            raise ValueError(
                f"{name} must have shape {expected} beside {shapes}; "
                f"received shape {tuple(tensor.shape)}"
            )


def _seen(value: object) -> str:
    """What an error message says was received."""
    if isinstance(value, Tensor):
        return f"a tensor of dtype {value.dtype} and shape {tuple(value.shape)}"
    return type(value).__name__
