"""A non-local block in plain NumPy, as a backend for the conformance suite.

    nlcore-conformance run plain_backend:block

docs/new_backend.md leads here step by step. Each function names its clauses of docs/spec.md.
"""

import numpy as np


@np.errstate(all="ignore")  # NL-11: NaN and infinity are data
def block(spec, weights, x, training=False):
    """z (B, C, *positions) from x (B, C, *positions), in x's dtype."""
    if x.dtype.name not in ("float32", "float64"):
        raise NotImplementedError("float32 and float64 only")
    x = x.astype(x.dtype.newbyteorder("="), copy=False)  # NL-1.5: any byte order
    w = {name: array.astype(x.dtype) for name, array in weights.items()}
    rows = np.moveaxis(x, 1, -1)  # (B, *positions, C)
    folded = fold(spec, rows)  # (B', *positions, C)
    theta, phi, g = embeddings(spec, w, folded)  # (B', N, D), (B', M, D), (B', M, V)
    y = weigh(spec, pairs(spec, w, theta, phi)) @ g  # (B', N, V)
    out = linear(w, "out", unfold(spec, y, rows.shape))  # (B, *positions, C)
    if spec.batch_norm:
        out = batch_norm(spec, w, out, training)
    return np.moveaxis(out + rows, -1, 1)  # NL-7


def linear(w, name, x):
    """NL-2.1 and NL-2.3: W x + b, with the bias only if there is one."""
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def embeddings(spec, w, x):
    """NL-2 and NL-5: theta at all positions, phi and g at the pooled ones."""
    at_input = spec.subsample_at == "input"
    keys = pool(spec, x) if at_input else x
    gaussian = spec.pairwise == "gaussian"  # NL-2.2
    theta = x if gaussian else linear(w, "theta", x)
    phi = keys if gaussian else linear(w, "phi", keys)
    g = linear(w, "g", keys)
    if not at_input:
        phi, g = pool(spec, phi), pool(spec, g)
    return (array.reshape(len(array), -1, array.shape[-1]) for array in (theta, phi, g))


def pool(spec, x):
    """NL-5: the maximum over windows of (B', *positions, D); what fills none is dropped."""
    for axis, window in enumerate(spec.subsample or (), start=1):
        x = np.moveaxis(x, axis, 0)
        x = x[: len(x) // window * window]
        x = x.reshape(-1, window, *x.shape[1:]).max(axis=1)
        x = np.moveaxis(x, 0, axis)
    return x


def pairs(spec, w, theta, phi):
    """NL-3: the logits of the Gaussians, f of the others; (B', N, M)."""
    if spec.pairwise == "concatenation":
        left, right = np.split(w["f.weight"], 2)  # (D,), (D,)
        a, b = theta @ left, phi @ right  # (B', N), (B', M)
        return np.maximum(a[:, :, None] + b[:, None] + w.get("f.bias", 0), 0)
    return theta.dtype.type(spec.scale) * (theta @ phi.swapaxes(1, 2))


def weigh(spec, t):
    """NL-4: f / C, from what `pairs` gives."""
    by_sum, gaussian = spec.normalization == "sum", "gaussian" in spec.pairwise
    if gaussian:  # NL-4.5: a softmax must not overflow
        t = np.exp(t - t.max(axis=2, keepdims=True) if by_sum else t)
    if not by_sum:
        return t / t.dtype.type(t.shape[2])
    total = t.sum(axis=2, keepdims=True)
    return np.where(total == 0, 0, t / np.where(total == 0, 1, total))  # NL-4.4


def fold(spec, x):
    """NL-6: (B, *positions, C) -> (B', *positions, C), items that do not see each other."""
    if spec.extent == "all" and spec.window is None:
        return x
    _, frames, height, width, channels = x.shape
    if spec.extent == "time":
        x = np.moveaxis(x, 1, 3)  # (B, H, W, T, C)
        return x.reshape(-1, frames, 1, 1, channels)
    return x.reshape(-1, spec.window or 1, height, width, channels)


def unfold(spec, y, shape):
    """The inverse of `fold`: (B', N, V) -> (B, *positions, V)."""
    if spec.extent == "time":
        batch, frames, height, width, _ = shape
        return np.moveaxis(y.reshape(batch, height, width, frames, -1), 3, 1)
    return y.reshape(*shape[:-1], -1)


def batch_norm(spec, w, v, training):
    """NL-8."""
    mean, variance = w["bn.running_mean"], w["bn.running_var"]
    if training:
        axes = tuple(range(v.ndim - 1))
        mean = v.mean(axes)
        variance = np.square(v - mean).mean(axes)
    slope = w["bn.weight"] / np.sqrt(variance + v.dtype.type(spec.eps))
    return (v - mean) * slope + w["bn.bias"]
