"""Kernels on 1-D arrays of pixels that vectorise: exp, squared differences, sums over windows."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from nlcore.reference.compensated import fma
from nlcore.reference.compiling import compiled, inlined

LOG2E, LN2 = 1.4426950408889634, 0.6931471805599453
LN2_LOW = 2.3190468138462996e-17  # ln 2 - LN2
#: Adding ROUNDER to x rounds x to an integer n. The lowest bits of the sum are then n + 1023, which
#: is the biased exponent of 2^n in float64.
ROUNDER = 1.5 * 2.0**52 + 1023.0


@intrinsic
def _power_of_two(typingctx: Any, t: Any) -> Any:
    """2^n from t = ROUNDER + n, |n| < 1023: the lowest bits of t are shifted to the exponent."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], context.get_value_type(types.int64))
        bits = builder.shl(bits, context.get_constant(types.int64, 52))
        return builder.bitcast(bits, context.get_value_type(types.float64))

    return types.float64(types.float64), codegen


@inlined
def _exp_minus(x):
    """exp(-x) with a relative error below 5e-16, for x clipped to [0, 700]. NaN stays NaN.

    exp(-x) is 2^n exp(r) with |r| <= ln(2)/2. exp(r) is its Taylor series to r^12, whose remainder
    is below 2.4e-16 exp(r). There are no branches and no calls, so that loops vectorise.
    """
    x = 0.0 if x < 0.0 else x
    x = 700.0 if x > 700.0 else x
    t = fma(x, -LOG2E, ROUNDER)
    n = t - ROUNDER
    r = fma(n, -LN2_LOW, fma(n, -LN2, -x))
    p = fma(r, 1 / 479001600, 1 / 39916800)
    p = fma(r, p, 1 / 3628800)
    p = fma(r, p, 1 / 362880)
    p = fma(r, p, 1 / 40320)
    p = fma(r, p, 1 / 5040)
    p = fma(r, p, 1 / 720)
    p = fma(r, p, 1 / 120)
    p = fma(r, p, 1 / 24)
    p = fma(r, p, 1 / 6)
    p = fma(r, p, 0.5)
    p = fma(r, p, 1.0)
    return fma(r, p, 1.0) * _power_of_two(t)  # type: ignore[call-arg]  # numba passes the context itself


@compiled
def weigh(d2, scale, offset):
    """d2[k] = exp(-max(scale d2[k] - offset, 0)), in place."""
    for k in range(d2.size):
        d2[k] = _exp_minus(fma(d2[k], scale, -offset))


@compiled
def squares(a, b, out):
    """out[k] = (a[k] - b[k])^2."""
    for k in range(out.size):
        out[k] = (a[k] - b[k]) ** 2


@compiled
def add_squares(a, b, out):
    """out[k] += (a[k] - b[k])^2."""
    for k in range(out.size):
        out[k] += (a[k] - b[k]) ** 2


@compiled
def add_weighted(w, value, weight, total):
    """weight[k] += w[k] and total[k] += w[k] value[k]."""
    for k in range(total.size):
        weight[k] += w[k]
        total[k] = fma(w[k], value[k], total[k])


@compiled
def add_product(a, b, out):
    """out[k] += a[k] b[k]."""
    for k in range(out.size):
        out[k] = fma(a[k], b[k], out[k])


@compiled
def _sum2(a, b, out):
    for k in range(out.size):
        out[k] = a[k] + b[k]


@compiled
def _sum3(a, b, c, out):
    for k in range(out.size):
        out[k] = a[k] + b[k] + c[k]


@compiled
def _scaled(g, a, out):
    for k in range(out.size):
        out[k] = g * a[k]


@compiled
def _add_pair(g, a, b, out):
    for k in range(out.size):
        out[k] = fma(g, a[k] + b[k], out[k])


@compiled
def sums(x, y, z, count, stride, size):
    """x[k] + x[k + stride] + ... with `size` terms, for k < count.

    x, y and z are three buffers of one size. The result is in the first of the three that are
    returned, and the two others are free. Each of the log2(size) passes turns sums of m terms into
    sums of 2m or 2m + 1 terms. It only adds, so that nothing cancels, and a NaN affects only the
    sums that contain it.
    """
    m, source, target = 1, x, y
    bit = 1
    while 2 * bit <= size:
        bit *= 2
    while bit > 1:
        bit //= 2
        terms = 2 * m + (1 if size & bit else 0)
        n, a = count + (size - terms) * stride, m * stride
        if size & bit:
            _sum3(source[:n], source[a : a + n], x[2 * a : 2 * a + n], target[:n])
        else:
            _sum2(source[:n], source[a : a + n], target[:n])
        source, target = target, (z if m == 1 else source)
        m = terms
    return source, x, target


@compiled
def weighted_sums(x, y, count, stride, window):
    """y[k] = sum_m window[m] x[k + m stride] for k < count. window is symmetric, of odd size."""
    radius = window.size // 2
    a = radius * stride
    _scaled(window[radius], x[a : a + count], y[:count])
    for m in range(radius):
        a, b = m * stride, (2 * radius - m) * stride
        _add_pair(window[m], x[a : a + count], x[b : b + count], y[:count])
