"""The pairwise functions f as kernels on the logits t_ij.

==================  =========================================  ============
pairwise            t_ij                                       f, df/dt
==================  =========================================  ============
gaussian            x_i . x_j                                  exp(s t), s f
embedded_gaussian   theta_i . phi_j                            exp(s t), s f
dot_product         theta_i . phi_j                            s t, s
concatenation       w_f . [theta_i, phi_j] + b_f               max(t, 0), 1 where t > 0
==================  =========================================  ============

The kernels take t as a sum high + low, so that exp of a large t is accurate to its last digits.
The derivative of the ReLU at t = 0 is 0. Source: arXiv 1711.07971, Sec. 3.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nlcore.reference.compensated import fma, two_sum
from nlcore.reference.compiling import compiled, inlined

EXP, LINEAR, RELU = 0, 1, 2
KIND = {
    "gaussian": EXP,
    "embedded_gaussian": EXP,
    "dot_product": LINEAR,
    "concatenation": RELU,
}

#: From here on the spacing of float64 is above 1.
TWO_53 = 2.0**53


class Rule(NamedTuple):
    """The pairwise function and the normalization, in a form that kernels can take."""

    kind: int  # EXP, LINEAR or RELU
    scale: float
    by_sum: bool  # whether C(x) is the sum of f over j, not the number of positions j


@inlined
def exp_of(scale, high, low, shift, shift_low):
    """exp(scale (high + low) - (shift + shift_low))."""
    p = scale * high
    d, r = two_sum(p, -shift)
    if abs(d) < np.inf:
        # low is much larger than u where the terms of t cancel, and so is r where p and shift are
        # large. So both are added to d first. Then |rest| <= u |d|, and 1 + rest equals exp(rest)
        # to far below u.
        d, rest = two_sum(d, r + (fma(scale, high, -p) + scale * low - shift_low))
        return np.exp(d) * (1.0 + rest)
    return np.exp(d)


@compiled
def pair_row(rule, high, low, f, slope):
    """Store f[j] = f(t_j) and slope[j] = df/dt(t_j) for one i. All arrays are (M,), t = high + low.

    If C(x) = sum_j f, exp(s t) is divided by its largest value in the row, so that it cannot
    overflow. The factor cancels in f / C(x).
    """
    scale = rule.scale
    if rule.kind == EXP:
        shift = shift_low = 0.0
        if rule.by_sum:
            shift = -np.inf
            for j in range(high.size):
                shift = max(shift, scale * high[j])
            if TWO_53 < abs(shift) < np.inf:  # else the low part is at most 1
                shift_low = -np.inf
                for j in range(high.size):
                    if scale * high[j] == shift:
                        shift_low = max(shift_low, fma(scale, high[j], -shift) + scale * low[j])
        for j in range(high.size):
            f[j] = exp_of(scale, high[j], low[j], shift, shift_low)
            slope[j] = scale * f[j]
    elif rule.kind == LINEAR:
        for j in range(high.size):
            f[j] = scale * (high[j] + low[j]) if abs(high[j]) < np.inf else scale * high[j]
            slope[j] = scale
    else:
        for j in range(high.size):
            t = high[j] + low[j] if abs(high[j]) < np.inf else high[j]
            f[j] = 0.0 if t <= 0.0 else t  # NaN stays NaN
            slope[j] = 0.0 if t <= 0.0 else 1.0
