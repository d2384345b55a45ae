"""The oracle's oracle: the operation and the block, literally, on scalars of any precision.

Arrays are NumPy object arrays. Their elements are 50-digit mpmath numbers, exact fractions (for
the pairwise functions that are polynomials), or `Running` numbers: 50 digits beside the magnitude
that a float64 computation's error is measured in. Nothing here is shared with nlcore: extents
are a predicate on pairs of positions, pooling is a search, and the gradients are checked against
50-digit central differences of the forward direction (test_oracle.py).

The magnitude of a result is the first-order effect, terms taken absolutely, of one relative
rounding in each stage, in units of u = 2^-53:

    y_i       sum_j |w_ij| |g_j|                                      w_ij = f_ij / C_i
    dg_j      sum_i |w_ij| |dy_i|
    dt_ij     |f'(t_ij) / C_i| (sum_v |dy_iv g_jv| + |delta|_i)       |delta|_i = sum_j |w_ij|
    dtheta_i  sum_j |dt_ij| |phi_j|, dphi_j likewise over i           sum_v |dy_iv g_jv|, or 0
                                                                      where C is a count
    linear    |W x|, and |W x + b| for the bias; likewise each of the normalization's steps

and a block's result carries the magnitudes of all its earlier stages through the derivatives of
the later ones. Since w_ij has C_i in it, a C that is small beside its terms is in the magnitude;
no other factor stands for its conditioning. t_ij, the products that f is a function of, have no
rounding of their own, as the reference keeps both halves of a compensated sum. Its remaining
error, about (D u)^2 sum_c |theta_ic phi_jc|, is not in the magnitude: where that exceeds
u |f / f'|, no algorithm that keeps two halves is accurate to a few u.
"""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np

U = 2.0**-53
SMALLEST_NORMAL = 2.0**-1022
MP = mpmath.MPContext()  # a context of its own: the precision is nobody else's
MP.dps = 50


class Running:
    """A 50-digit value, and its magnitude: the first-order effect of the roundings so far."""

    __slots__ = ("magnitude", "size", "value")

    def __init__(self, value, magnitude=0.0):
        self.value, self.magnitude, self.size = value, magnitude, None

    def __add__(self, other):
        other = _running(other)
        return Running(self.value + other.value, self.magnitude + other.magnitude)

    def __sub__(self, other):
        other = _running(other)
        return Running(self.value - other.value, self.magnitude + other.magnitude)

    def __mul__(self, other):
        other = _running(other)
        carried = 0.0
        if self.magnitude:
            carried = self.magnitude * abs(other)
        if other.magnitude:
            carried += abs(self) * other.magnitude
        return Running(self.value * other.value, carried)

    def __truediv__(self, other):
        other = _running(other)
        out = Running(self.value / other.value, 0.0)
        if self.magnitude or other.magnitude:
            out.magnitude = (self.magnitude + abs(out) * other.magnitude) / abs(other)
        return out

    def __abs__(self):
        if self.size is None:
            self.size = abs(float(self.value))
        return self.size

    def __gt__(self, other):
        return self.value > _running(other).value

    def __eq__(self, other):
        return self.value == _running(other).value

    __radd__, __rmul__, __hash__ = __add__, __mul__, None


def _running(x):
    return x if isinstance(x, Running) else Running(MP.mpf(x))


def _function(x, function, derivative):
    """function(x), x's magnitude carried through by the derivative."""
    if isinstance(x, Running):
        return Running(function(x.value), x.magnitude * float(abs(derivative(x.value))))
    return function(x)


def _exp(x):
    return _function(x, MP.exp, MP.exp)


def _rsqrt(x):
    return _function(x, lambda v: 1 / MP.sqrt(v), lambda v: v ** (-3 * MP.mpf(1) / 2) / 2)


@np.vectorize(otypes=[object], excluded=())
def rounded(x, magnitude=None):
    """x with one more rounding, of `magnitude`, by default |x|.

    What underflows has the smallest normal number's rounding: half the spacing of subnormals.
    """
    if not isinstance(x, Running):
        return x
    own = abs(x) if magnitude is None else magnitude
    return Running(x.value, x.magnitude + max(own, SMALLEST_NORMAL if x != 0 else 0.0))


def numbers(array, kind=Running):
    """float64 array -> object array of exactly the same values."""
    array = np.asarray(array, np.float64)
    out = np.empty(array.shape, object)
    kind = _running if kind is Running else kind
    out.ravel()[:] = [kind(value) for value in array.ravel().tolist()]
    return out


def fifty_digits(array):
    return numbers(array, MP.mpf)


def fractions(array):
    return numbers(array, Fraction)


def ratio(actual, expected):
    """The largest |actual - expected| / (u magnitude); `expected` holds Running numbers."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == np.float64
    assert actual.shape == expected.shape
    worst = 0.0
    for a, e in zip(actual.ravel().tolist(), expected.ravel().tolist(), strict=True):
        e = _running(e)
        assert np.isfinite(e.magnitude), "the oracle overflowed: choose other inputs"
        if not np.isfinite(a):
            return np.inf
        error = float(abs(a - e.value))
        if error > 0.0:
            worst = max(worst, error / U / e.magnitude if e.magnitude else np.inf)
    return worst


# The operation, on (N, D), (M, D), (M, V): one batch item


def _pairs(spec, theta, phi, f_weight, f_bias):
    """f and df/dt, (N, M)."""
    if spec.pairwise == "concatenation":
        t = np.empty((len(theta), len(phi)), object)
        for i, j in np.ndindex(t.shape):
            t[i, j] = f_weight @ np.concatenate([theta[i], phi[j]])
            if f_bias is not None:
                t[i, j] = t[i, j] + np.asarray(f_bias).item()
        on = np.vectorize(lambda v: v > 0, otypes=[bool])(t)
        return np.where(on, t, 0 * t), np.where(on, 0 * t + 1, 0 * t)
    s = numbers(spec.scale, type(theta[0, 0]))
    st = s * (theta @ phi.T)
    if spec.pairwise == "dot_product":
        return st, 0 * st + s
    f = np.vectorize(_exp, otypes=[object])(st)
    return f, s * f


def _normalized(spec, f, slope):
    """f / C and (df/dt) / C, 0 in the rows where C is 0."""
    c = f.sum(axis=1) if spec.normalization == "sum" else np.full(len(f), f.shape[1], object)
    w, dw = 0 * f, 0 * f
    for i in range(len(f)):
        if c[i] != 0:
            w[i], dw[i] = f[i] / c[i], slope[i] / c[i]
    return w, dw


def operation(spec, theta, phi, g, f_weight=None, f_bias=None):
    """y (N, V)."""
    w, _ = _normalized(spec, *_pairs(spec, theta, phi, f_weight, f_bias))
    return rounded(w) @ g


def operation_vjp(spec, theta, phi, g, dy, f_weight=None, f_bias=None):
    """Gradients by name."""
    w, dw = _normalized(spec, *_pairs(spec, theta, phi, f_weight, f_bias))
    dp = dy @ g.T  # (N, M): dL/dw
    size = _sizes(dy) @ _sizes(g).T
    delta = 0 * dp[:, :1]
    if spec.normalization == "sum":
        delta = (w * dp).sum(axis=1, keepdims=True)  # (N, 1)
        size = size + (_sizes(w) * size).sum(axis=1, keepdims=True)
    floor = np.where(dw == 0, 0.0, SMALLEST_NORMAL * max(1.0, abs(spec.scale)))
    dt = rounded(dw * (dp - delta), np.maximum(_sizes(dw), floor) * size)  # (N, M)
    dg = rounded(w).T @ dy
    if spec.pairwise != "concatenation":
        return {"theta": dt @ phi, "phi": dt.T @ theta, "g": dg}
    d = theta.shape[1]
    da, db = dt.sum(axis=1), dt.sum(axis=0)  # (N,), (M,)
    grads = {"theta": np.outer(da, f_weight[:d]), "phi": np.outer(db, f_weight[d:]), "g": dg}
    grads["f.weight"] = np.concatenate([da @ theta, db @ phi])
    return grads | {"f.bias": da.sum()}


def _sizes(a):
    """|a| as float64."""
    return np.vectorize(lambda v: float(abs(v)), otypes=[float])(a)


# The block, on x (B, *positions, C)


def sees(spec, i, j):
    """Whether position i sees position j, each a tuple of ndim ints (pooled axes: j's own)."""
    if spec.extent == "space":
        return i[0] == j[0]
    if spec.extent == "time":
        return i[1:] == j[1:]
    return spec.window is None or i[0] // spec.window == j[0] // spec.window


def _max_pool(a, window):
    """a (B, *positions, C) -> the maxima, and for each the index in `a` that it stood at."""
    shape = (len(a), *(n // w for n, w in zip(a.shape[1:-1], window, strict=True)), a.shape[-1])
    values, source = np.empty(shape, object), np.empty(shape, object)
    for index in np.ndindex(shape):
        for offset in np.ndindex(window):  # row-major: a tie stays with the first
            moved = zip(index[1:-1], window, offset, strict=True)
            at = (index[0], *(n * w + o for n, w, o in moved), index[-1])
            if source[index] is None or a[at] > values[index]:
                values[index], source[index] = a[at], at
    return values, source


def _max_pool_vjp(shape, source, d):
    out = np.zeros(shape, object)
    for index in np.ndindex(d.shape):
        out[source[index]] = out[source[index]] + d[index]
    return out


def _linear(w, name, x):
    y = rounded(x @ w[f"{name}.weight"].T)
    return rounded(y + w[f"{name}.bias"]) if f"{name}.bias" in w else y


def _linear_vjp(w, name, x, dy, grads):
    rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    grads[f"{name}.weight"] = rounded(drows.T @ rows)
    if f"{name}.bias" in w:
        grads[f"{name}.bias"] = rounded(drows.sum(axis=0))
    return rounded(dy @ w[f"{name}.weight"])


def _embeddings(spec, w, x):
    """theta, phi and g on their grids, what phi and g were made of, and the maxima's places."""
    source = {}

    def pooled(name, array, at):
        if spec.subsample is None or spec.subsample_at != at:
            return array
        values, source[name] = _max_pool(array, spec.subsample)
        return values

    keys = pooled("keys", x, "input")
    theta = _linear(w, "theta", x) if spec.embedded else x
    phi = pooled("phi", _linear(w, "phi", keys) if spec.embedded else keys, "embedding")
    g = pooled("g", _linear(w, "g", keys), "embedding")
    return theta, phi, g, keys, source


def _each_position(spec, theta, phi):
    """(index of i, indices of the j that it sees), for each batch item and position i."""
    for i in np.ndindex(theta.shape[:-1]):
        j = [p for p in np.ndindex(phi.shape[1:-1]) if sees(spec, i[1:], p)]
        yield i, (np.full(len(j), i[0]), *np.array(j).T)


def _batch_norm(spec, w, out, training):
    """centred, rstd, normalized; out is (R, C)."""
    mean, variance = w["bn.running_mean"], w["bn.running_var"]
    if training:
        mean = rounded(out.sum(axis=0) / len(out))
        centred = rounded(out - mean)
        variance = rounded((centred * centred).sum(axis=0) / len(out))
    centred = rounded(out - mean)
    rstd = rounded(np.vectorize(_rsqrt, otypes=[object])(variance + spec.eps))
    return centred, rstd, rounded(rounded(centred * rstd * w["bn.weight"]) + w["bn.bias"])


def block(spec, w, x, training=False):
    """z (B, *positions, C)."""
    theta, phi, g, _, _ = _embeddings(spec, w, x)
    out = _linear(w, "out", _y(spec, w, theta, phi, g)).reshape(-1, x.shape[-1])
    if spec.batch_norm:
        out = _batch_norm(spec, w, out, training)[2]
    return rounded(out.reshape(x.shape) + x)


def _y(spec, w, theta, phi, g):
    y = np.empty((*theta.shape[:-1], g.shape[-1]), object)
    for i, j in _each_position(spec, theta, phi):
        y[i] = operation(spec, theta[i][None], phi[j], g[j], *_f(w))[0]
    return y


def _f(w):
    return w.get("f.weight"), w.get("f.bias")


def block_vjp(spec, w, x, dz, training=False):
    """dx (B, *positions, C), and dweights."""
    theta, phi, g, keys, source = _embeddings(spec, w, x)
    y = _y(spec, w, theta, phi, g)
    grads = {}
    dout = dz
    if spec.batch_norm:
        out = _linear(w, "out", y).reshape(-1, x.shape[-1])
        centred, rstd, _ = _batch_norm(spec, w, out, training)
        xhat, rows = rounded(centred * rstd), dz.reshape(out.shape)
        grads["bn.weight"] = rounded((rounded(rows * xhat)).sum(axis=0))
        grads["bn.bias"] = rounded(rows.sum(axis=0))
        if training:
            through = grads["bn.bias"] + rounded(xhat * grads["bn.weight"])
            rows = rounded(rows - rounded(through / len(out)))
        dout = rounded(rows * (w["bn.weight"] * rstd)).reshape(x.shape)
    dy = _linear_vjp(w, "out", y, dout, grads)
    dtheta, dphi, dg = (np.zeros(a.shape, object) for a in (theta, phi, g))
    for i, j in _each_position(spec, theta, phi):
        d = operation_vjp(spec, theta[i][None], phi[j], g[j], dy[i][None], *_f(w))
        dtheta[i] = d["theta"][0]
        dphi[j], dg[j] = dphi[j] + d["phi"], dg[j] + d["g"]
        for name in ("f.weight", "f.bias"):
            if name in w:
                grads[name] = grads.get(name, 0) + d[name]
    shape = (*keys.shape[:-1], g.shape[-1])
    if "g" in source:
        dphi = _max_pool_vjp((*shape[:-1], phi.shape[-1]), source["phi"], dphi)
        dg = _max_pool_vjp(shape, source["g"], dg)
    dkeys = _linear_vjp(w, "g", keys, dg, grads)
    if spec.embedded:
        dtheta = _linear_vjp(w, "theta", x, dtheta, grads)
        dphi = _linear_vjp(w, "phi", keys, dphi, grads)
    dkeys = rounded(dkeys + dphi)
    if "keys" in source:
        dkeys = _max_pool_vjp(x.shape, source["keys"], dkeys)
    return rounded(rounded(dtheta + dkeys) + dz), grads
