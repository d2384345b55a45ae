"""How far an honest implementation may be from the reference, for each output element.

The block and its vector-Jacobian product are computed once more, in numbers that carry their own
error bound (`nlcore_conformance.bounds.arithmetic`). All N x M pairs are in arrays, since problems
are small. No bound depends on the result that is judged.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.bounds.arithmetic import Arithmetic, Bounded, arithmetic
from nlcore_conformance.bounds.forward_bounds import Setting, bounded_positions, forward
from nlcore_conformance.bounds.gradient_bounds import backward

#: Without a gradient, only some positions i are bounded where there are more pairs than this.
PAIRS = 2**20


def block_bounds(
    spec: NonLocalSpec,
    weights: Mapping[str, np.ndarray],
    x: np.ndarray,
    dz: np.ndarray | None = None,
    training: bool = False,
    *,
    dtype: str = "float32",
    independent: bool = True,
    sums: str | None = None,
    pairs: int = PAIRS,
) -> dict[str, np.ndarray]:
    """Bounds on the absolute error of "z", and with dz of "dx" and each weight's gradient.

    Parameters
    ----------
    weights, x, dz
        As for `nlcore.block_vjp`; x is (B, C, *positions). Without dz no gradient is bounded.
    dtype : str
        The dtype that the implementation computes in.
    sums : str, optional
        The dtype of its sums, by default float32 for the half precisions and `dtype` for others.
    independent : bool
        Whether roundings are assumed to be independent. Those of many equal terms are not.
    pairs : int
        The largest number of pairs in an array, where there is no gradient.

    Returns
    -------
    dict of str to array
        Bounds with the shapes of the outputs. A bound is inf where a stage may overflow the dtype
        or a normalizer may be zero. Without dz, and with more than `pairs` pairs, z is bounded at
        evenly spaced positions only, and its bound is NaN elsewhere.
    """
    w = {name: np.asarray(v).astype(np.float64) for name, v in weights.items()}
    x = np.asarray(x).astype(np.float64)
    dz = None if dz is None else np.asarray(dz).astype(np.float64)

    def errors(granted: Arithmetic) -> dict[str, np.ndarray]:
        given = {name: granted.given(value) for name, value in w.items()}
        setting = Setting(granted, spec, given, training, pairs if dz is None else None)
        return {name: bounded.error for name, bounded in bounded_outputs(setting, x, dz).items()}

    bounds = errors(arithmetic(dtype, sums, independent=independent))
    if dtype == "float64":  # the reference's own rounding counts beside float64's, and only there
        own = errors(arithmetic(dtype, compensated=True))
        bounds = {name: bounds[name] + own[name] for name in bounds}
    bounds = {name: np.where(np.isnan(b), np.inf, b) for name, b in bounds.items()}
    if dz is None:
        rows = np.moveaxis(x, 1, -1)  # (B, *positions, C)
        bounded = np.moveaxis(bounded_positions(spec, rows, pairs), -1, 1)  # (B, 1, *positions)
        bounds["z"] = np.where(bounded, bounds["z"], np.nan)
    return bounds


def bounded_outputs(setting: Setting, x: np.ndarray, dz: np.ndarray | None) -> dict[str, Bounded]:
    """z, and with dz the gradients, by name as bounded numbers; x and dz are (B, C, *positions)."""

    def channels_first(b: Bounded) -> Bounded:
        return b.apply(lambda array: np.moveaxis(array, -1, 1))

    rows = setting.a.given(np.moveaxis(x, 1, -1))  # (B, *positions, C)
    with np.errstate(all="ignore"):
        stages = forward(setting, rows)
        found = {"z": channels_first(stages.z)}
        if dz is not None:
            drows = setting.a.given(np.moveaxis(dz, 1, -1))  # (B, *positions, C)
            dx, grads = backward(setting, rows, stages, drows)
            found |= {"dx": channels_first(dx), **grads}
    return found
