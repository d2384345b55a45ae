"""The bare non-local operation on embeddings, as tensors (B, N, D), (B, M, D), (B, M, V)."""

from __future__ import annotations

from typing import Any

from nlcore import NonLocalSpec
from nlcore.arguments import check_operation
from nlcore_keras.operation.arguments import dtype_name
from nlcore_keras.operation.concatenation import logit_share
from nlcore_keras.operation.stages import attend


def non_local_operation(
    spec: NonLocalSpec, theta: Any, phi: Any, g: Any, f_weight: Any = None, f_bias: Any = None
) -> Any:
    """y_i = 1/C(x) sum_j f(theta_i, phi_j) g_j, with C(x) = sum_j f or the number M of j.

    Where C(x) = 0, y_i = 0. The dot product and the concatenation form no N x M array. The
    Gaussians take the queries in chunks of a fixed number of pairs where N and M are static.

    Parameters
    ----------
    spec : NonLocalSpec
        Gives the pairwise function, the normalization and the scale.
    theta, phi, g : (B, N, D), (B, M, D), (B, M, V)
        Embeddings of the positions i, of the positions j, and the values: tensors or arrays of one
        dtype. Their sizes may be unknown in a compiled graph.
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
    Logits, normalizers and prefix sums are float32 at least.

    Source: arXiv 1711.07971, Eq. 1 to 4 and Sec. 3.2.

    Examples
    --------
    >>> import keras
    >>> from nlcore import NonLocalSpec
    >>> theta, phi, g = (keras.random.normal((2, n, 8)) for n in (50, 20, 20))
    >>> tuple(non_local_operation(NonLocalSpec(8), theta, phi, g).shape)
    (2, 50, 8)
    """
    given = {"theta": theta, "phi": phi, "g": g, "f_weight": f_weight, "f_bias": f_bias}
    tensors = {name: value for name, value in given.items() if value is not None}
    dtypes = {name: dtype_name(name, tensor) for name, tensor in tensors.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_operation(spec, shapes, dtypes)
    if f_weight is not None:
        width = theta.shape[2]
        theta = logit_share(theta, f_weight[:width], f_bias)  # (B, N)
        phi = logit_share(phi, f_weight[width:])  # (B, M)
    return attend(spec, theta, phi, g)
