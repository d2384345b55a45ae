"""Checks of the arguments of the block and of the bare operation, for every backend.

The checks take shapes and names of dtypes, not arrays. So NumPy, PyTorch and Keras share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlcore.spec import AXES, FLOATS, NonLocalSpec

#: The shape of an array. None is a size that is not known yet and matches every size.
Shape = tuple[int | None, ...]


def check_float(name: str, dtype: str) -> None:
    """Raise TypeError unless a block can be computed in this dtype (`nlcore.spec.FLOATS`)."""
    if dtype not in FLOATS:
        raise TypeError(f"{name} must be floating point, one of {FLOATS}; received dtype {dtype}")


def check_input(
    spec: NonLocalSpec, shape: tuple[int | None, ...], dtype: str, channels_last: bool = False
) -> None:
    """Raise unless an input x with this shape and dtype is valid for the spec.

    Parameters
    ----------
    spec : NonLocalSpec
    shape : tuple of int or None
        (B, C, *positions), or (B, *positions, C) with `channels_last`. None is a size that is not
        known yet, such as a symbolic dimension in Keras. It passes every check.
    dtype : str
        Name of the dtype of x.
    channels_last : bool

    Raises
    ------
    TypeError
        x is not floating point, or spec is not a NonLocalSpec.
    ValueError
        The number of axes or channels is wrong, an axis has size 0 or is smaller than its pooling
        window, or `spec.window` does not divide T.

    Examples
    --------
    >>> from nlcore import NonLocalSpec
    >>> check_input(NonLocalSpec(8, ndim=2), (1, 8, 5, 5), "float32")
    >>> check_input(NonLocalSpec(8, ndim=2), (1, 4, 5, 5), "float32")
    Traceback (most recent call last):
        ...
    ValueError: x must have 8 channels: shape (B, 8, H, W); received shape (1, 4, 5, 5)
    """
    check_spec(spec)
    check_float("x", dtype)
    shape, axes = tuple(shape), AXES[spec.ndim]
    names = ("B", *axes, str(spec.channels)) if channels_last else ("B", str(spec.channels), *axes)
    expected = f"({', '.join(names)})"
    if len(shape) != spec.ndim + 2:
        raise ValueError(f"x must have shape {expected}; received shape {shape}")
    channels = shape[-1] if channels_last else shape[1]
    positions = shape[1:-1] if channels_last else shape[2:]
    if channels is not None and channels != spec.channels:
        raise ValueError(
            f"x must have {spec.channels} channels: shape {expected}; received shape {shape}"
        )
    if 0 in shape:
        raise ValueError(f"x must have no axis of size 0; received shape {shape}")
    for axis, size, window in zip(axes, positions, spec.pool, strict=True):
        if size is not None and size < window:
            raise ValueError(
                f"axis {axis} must be at least its pooling window {window}; "
                f"received size {size} in shape {shape}"
            )
    frames = positions[0]
    if spec.window is not None and frames is not None and frames % spec.window:
        raise ValueError(
            f"window={spec.window} must divide T; received T={frames} in shape {shape}"
        )


def check_spec(spec: Any) -> None:
    """Raise TypeError unless spec is a NonLocalSpec."""
    if not isinstance(spec, NonLocalSpec):
        raise TypeError(f"spec must be a NonLocalSpec; received {type(spec).__name__}")


def check_operation(
    spec: NonLocalSpec,
    shapes: Mapping[str, Shape],
    dtypes: Mapping[str, str],
    mixed: bool = False,
) -> None:
    """Raise unless the arguments of the bare operation are consistent.

    Parameters
    ----------
    spec : NonLocalSpec
    shapes : mapping of name to shape
        "theta" (B, N, D), "phi" (B, M, D) and "g" (B, M, V). For concatenation also "f_weight"
        (2D,) and optionally "f_bias" (). For a gradient also "dy" (B, N, V).
    dtypes : mapping of name to dtype name
        Dtypes of the same arguments.
    mixed : bool
        Whether the dtypes may differ, as under autocast.

    Raises
    ------
    TypeError
        An argument is not floating point or does not have the dtype of theta, or spec is not a
        NonLocalSpec.
    ValueError
        Shapes are inconsistent, f_weight is missing for concatenation, or f_weight or f_bias is
        given for another pairwise function.
    """
    check_spec(spec)
    if ("f_weight" in shapes) != (spec.pairwise == "concatenation"):
        received = f"shape {shapes['f_weight']}" if "f_weight" in shapes else "None"
        raise ValueError(
            "f_weight must have shape (2D,) for pairwise='concatenation' and must be None for "
            f"every other; received {received} with pairwise={spec.pairwise!r}"
        )
    if "f_bias" in shapes and "f_weight" not in shapes:
        raise ValueError(
            "f_bias is the concatenation's bias and must be None for every other pairwise "
            f"function; received it with pairwise={spec.pairwise!r}"
        )
    for name, dtype in dtypes.items():
        check_float(name, dtype)
        if dtype != dtypes["theta"] and not mixed:
            raise TypeError(f"{name} must have theta's dtype {dtypes['theta']}; received {dtype}")
    theta, phi, g = (tuple(shapes[name]) for name in ("theta", "phi", "g"))
    received = f"theta {theta}, phi {phi}, g {g}"
    if not _consistent(theta, phi, g):
        raise ValueError(
            "theta, phi and g must have shapes (B, N, D), (B, M, D) and (B, M, V) with no axis "
            f"of size 0; received {received}"
        )
    width = theta[2]
    expected: dict[str, Shape] = {
        "f_weight": (None if width is None else 2 * width,),
        "f_bias": (),
        "dy": (*theta[:2], g[2]),
    }
    for name, shape in expected.items():
        if name in shapes and not _fits(tuple(shapes[name]), shape):
            raise ValueError(
                f"{name} must have shape {shape} for {received}; "
                f"received shape {tuple(shapes[name])}"
            )


def _consistent(theta: Shape, phi: Shape, g: Shape) -> bool:
    if not len(theta) == len(phi) == len(g) == 3 or 0 in theta + phi + g:
        return False
    return _fits(theta[::2], phi[::2]) and _fits(phi[:2], g[:2])  # (B, D), (B, M)


def _fits(shape: Shape, expected: Shape) -> bool:
    if len(shape) != len(expected):
        return False
    return all(a == b or None in (a, b) for a, b in zip(shape, expected, strict=True))
