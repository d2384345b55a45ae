"""The operation and its gradients against the oracle: error <= 8 u magnitude, at any size.

`oracle` says what the magnitude of each result is. The products' terms differ in size by at most
what two halves of a compensated sum can tell apart; see there.
"""

import itertools
import re
from fractions import Fraction

import ml_dtypes
import numpy as np
import oracle
import pytest

from nlcore import NonLocalSpec, operation, operation_vjp

PAIRWISE = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
EVERY = list(itertools.product(PAIRWISE, ("sum", "count")))
#: The Gaussian's f is the embedded Gaussian's: `operation` takes what stands on either side.
DISTINCT = [pair for pair in EVERY if pair[0] != "gaussian"]
SIZES = [(1, 1, 1, 1), (1, 5, 3, 2), (7, 1, 2, 3), (4, 6, 1, 1), (5, 3, 12, 4), (12, 11, 7, 5)]


def problem(spec, rng, n, m, d, v, batch=2, size=1.0):
    """Arguments of `operation_vjp`: theta, phi, g, dy and the concatenation's w_f and b_f."""
    theta, phi = rng.normal(size=(batch, n, d)), rng.normal(size=(batch, m, d)) * size / d
    g, dy = rng.normal(size=(batch, m, v)), rng.normal(size=(batch, n, v))
    if spec.pairwise != "concatenation":
        return theta, phi, g, dy
    return theta, phi, g, dy, rng.normal(size=2 * d), np.asarray(rng.normal())


def close(spec, arguments):
    """Assert that y and every gradient have an error of at most 8 u magnitude."""
    for name, worst in ratios(spec, arguments).items():
        assert worst <= 8.0, f"{name}: error = {worst:.3g} u magnitude"


def ratios(spec, arguments):
    theta, phi, g, dy, *f = arguments
    y, grads = operation(spec, theta, phi, g, *f), operation_vjp(spec, theta, phi, g, dy, *f)
    f_exact = [oracle.numbers(a) for a in f]
    worst, total = {}, {}
    for b in range(len(theta)):
        item = [oracle.numbers(a[b]) for a in (theta, phi, g, dy)]
        expected = {"y": oracle.operation(spec, *item[:3], *f_exact)}
        expected |= oracle.operation_vjp(spec, *item, *f_exact)
        for name, value in expected.items():
            if name.startswith("f."):  # summed over the batch
                total[name] = total.get(name, 0) + value
            else:
                actual = y[b] if name == "y" else grads[name][b]
                worst[name] = max(worst.get(name, 0.0), oracle.ratio(actual, value))
    for name in total:
        worst[name] = oracle.ratio(grads[name], total[name])
    assert list(grads) == [name for name in worst if name != "y"]
    return worst


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("pairwise", "normalization"), EVERY)
def test_small(pairwise, normalization, sizes, rng):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    close(spec, problem(spec, rng, *sizes))


@pytest.mark.parametrize("scale", [0.125, -0.3, 3.7])
@pytest.mark.parametrize("normalization", ["sum", "count"])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "dot_product"])
def test_scale(pairwise, normalization, scale, rng):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization, scale=scale)
    close(spec, problem(spec, rng, 5, 6, 3, 2))


@pytest.mark.parametrize(("pairwise", "normalization"), EVERY)
def test_values_of_widely_different_sizes(pairwise, normalization, rng):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, dy, *f = problem(spec, rng, 6, 7, 4, 3)
    g, dy = (a * 2.0 ** rng.integers(-60, 60, a.shape) for a in (g, dy))
    spread = 2.0 ** rng.integers(-25, 2, 4)  # every product theta_c phi_c as it was, or smaller
    theta, phi = theta * spread, phi / np.sqrt(spread)
    close(spec, (theta, phi, g, dy, *f))


@pytest.mark.parametrize(("pairwise", "normalization"), EVERY)
def test_values_that_cancel(pairwise, normalization, rng):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, dy, *f = problem(spec, rng, 6, 8, 4, 3)
    signs = np.array([1.0, -1.0] * 4)[:, None]  # (M, 1)
    g = signs * (1.0 + 1e-9 * g)
    dy = 1.0 + 1e-9 * dy
    close(spec, (theta, phi, g, dy, *f))


@pytest.mark.parametrize("terms", [1e4, 1e8, 1e12])
@pytest.mark.parametrize(("pairwise", "normalization"), EVERY)
def test_products_that_cancel(pairwise, normalization, terms, rng):
    """t_ij of about 1 that is a sum of large terms: its low half is far above u |t_ij|."""
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, dy, *f = problem(spec, rng, 5, 6, 3, 2)
    large = rng.normal(size=(2, 1, 1)) * np.sqrt(terms)
    ones = np.ones((2, 6, 1)) * rng.normal() * np.sqrt(terms)
    theta = np.concatenate([large * np.ones((2, 5, 1)), theta, -large + 0 * theta[..., :1]], -1)
    phi = np.concatenate([ones, phi, ones], -1)
    if f:
        f[0] = rng.normal(size=10)
        f[0][[0, 4, 5, 9]] = np.sqrt(terms) * np.array([1.0, 1.0, 1.0, -1.0])
    close(spec, (theta, phi, g, dy, *f))


@pytest.mark.parametrize("size", [50.0, 700.0])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian"])
def test_large_logits(pairwise, size, rng):
    """Some of these exp, and their sums, overflow unless they are divided by the row's largest."""
    spec = NonLocalSpec(4, pairwise=pairwise, normalization="sum")
    theta, phi, g, dy = problem(spec, rng, 6, 9, 4, 3)
    largest = np.abs(theta @ phi.transpose(0, 2, 1)).max()
    close(spec, (theta * (size / largest), phi, g, dy))


@pytest.mark.parametrize("shift", [-1e9, 1e5, 1e9])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian"])
def test_logits_with_a_common_part(pairwise, shift, rng):
    """exp(t + shift) / sum exp(t + shift) is exp(t) / sum exp(t), whatever exp(shift) is."""
    spec = NonLocalSpec(4, pairwise=pairwise, normalization="sum")
    theta, phi, g, dy = problem(spec, rng, 5, 6, 3, 2, batch=1)
    shifted = np.insert(theta, 0, shift, axis=-1), np.insert(phi, 0, 1.0, axis=-1), g
    exact = [oracle.numbers(a[0]) for a in (theta, phi, g, dy)]
    assert oracle.ratio(operation(spec, *shifted)[0], oracle.operation(spec, *exact[:3])) <= 8.0
    grads, expected = operation_vjp(spec, *shifted, dy), oracle.operation_vjp(spec, *exact)
    assert oracle.ratio(grads["theta"][0, :, 1:], expected["theta"]) <= 8.0
    assert oracle.ratio(grads["phi"][0, :, 1:], expected["phi"]) <= 8.0
    assert oracle.ratio(grads["g"][0], expected["g"]) <= 8.0


@pytest.mark.parametrize("sizes", [(2048, 2, 2, 1), (2, 2048, 2, 1), (2, 3, 2048, 1)])
@pytest.mark.parametrize(("pairwise", "normalization"), DISTINCT)
def test_one_size_2048(pairwise, normalization, sizes, rng):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    close(spec, problem(spec, rng, *sizes, batch=1))


@pytest.mark.parametrize("sizes", [(2048, 2, 1, 1), (1, 2048, 1, 1), (1, 2, 2048, 1)])
@pytest.mark.parametrize(("pairwise", "normalization"), DISTINCT)
def test_equal_terms_2048(pairwise, normalization, sizes, rng):
    """The roundings of an uncompensated sum of equal terms all go the same way: tens of u here."""
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, dy, *f = problem(spec, rng, *sizes, batch=1)
    theta, phi = np.full_like(theta, 0.7), np.full_like(phi, 3.1 / sizes[2])
    dy = np.full_like(dy, 0.3)
    if sizes[1] > 2:
        g[...] = 0.1
    close(spec, (theta, phi, g, dy, *map(np.abs, f)))


@pytest.mark.parametrize("normalization", ["sum", "count"])
@pytest.mark.parametrize("pairwise", ["dot_product", "concatenation"])
def test_exact_fractions(pairwise, normalization, rng):
    """The polynomial pairwise functions once more, with no precision to choose in the oracle."""
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, _, *f = problem(spec, rng, 4, 5, 3, 2, batch=1)
    arrays = theta[0], phi[0], g[0]
    magnitude = oracle.operation(spec, *map(oracle.numbers, (*arrays, *f)))
    value = oracle.operation(spec, *map(oracle.fractions, (*arrays, *f)))
    actual = operation(spec, theta, phi, g, *f)[0]
    for a, v, m in zip(actual.ravel(), value.ravel(), magnitude.ravel(), strict=True):
        assert abs(Fraction(float(a)) - v) <= Fraction(8 * oracle.U * m.magnitude)


# N = M = D = 2048. Embeddings, g and dy are integers times a power of 2 with at most 7 bits, so
# that float64 products of 2048 terms (25 bits) are exact, whatever order BLAS adds them in. exp
# and what follows it are 64-bit long doubles: 2^-64 a rounding, which is u / 2048, one for exp,
# one for each product and quotient, and at most 24 deep in a sum, NumPy's being pairwise above
# blocks of 128 that are summed in 8 parts: together less than 0.05 u of the magnitude.

BITS64 = pytest.mark.skipif(
    np.finfo(np.longdouble).eps != 2.0**-63, reason="needs a long double of 64 bits"
)


def few_bits(rng, shape, exponent):
    return rng.integers(-63, 64, shape) * 2.0**exponent


def joint_problem(spec, rng, n=2048, m=2048, d=2048, v=8):
    theta, phi = few_bits(rng, (n, d), -6), few_bits(rng, (m, d), -10)  # t is 2 or so
    g, dy = few_bits(rng, (m, v), -5), few_bits(rng, (n, v), -5)
    f = ()
    if spec.pairwise == "concatenation":
        f = few_bits(rng, 2 * d, -9), np.asarray(0.125)
        phi = phi * 2.0**4
    return theta, phi, g, dy, f


def joint_pairs(spec, theta, phi, f):
    """f / C and (df/dt) / C (N, M) in long double."""
    if spec.pairwise == "concatenation":
        d = theta.shape[1]
        t = (theta @ f[0][:d])[:, None] + (phi @ f[0][d:])[None] + f[1]
        value, slope = np.maximum(t, 0.0).astype(np.longdouble), (t > 0.0).astype(np.longdouble)
    else:
        t = (theta @ phi.T).astype(np.longdouble)
        value, slope = (t, np.ones_like(t)) if spec.pairwise == "dot_product" else (np.exp(t),) * 2
    if spec.normalization == "count":
        return value / len(phi), slope / len(phi)
    c = value.sum(axis=1, keepdims=True)
    c[c == 0.0] = np.inf  # w and dt are 0 in that row
    return value / c, slope / c


def weighted_sums(weights, rows):
    """weights (P, Q), rows (Q, V) -> the sums over Q, and of the terms' absolute values, (P, V)."""
    products = weights[:, None, :] * np.ascontiguousarray(rows.T)  # (P, V, Q): Q is summed pairwise
    return products.sum(axis=-1), np.abs(products).sum(axis=-1)


def assert_within(actual, value, magnitude):
    assert np.all(np.abs(actual - value) <= 8.0 * oracle.U * magnitude)


@BITS64
@pytest.mark.parametrize(
    ("pairwise", "normalization"),
    [
        ("embedded_gaussian", "sum"),
        ("dot_product", "sum"),
        ("concatenation", "sum"),
        ("concatenation", "count"),
    ],
)
def test_every_size_2048(pairwise, normalization, rng):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, _, f = joint_problem(spec, rng)
    y = operation(spec, theta[None], phi[None], g[None], *f)[0]
    i = rng.choice(len(theta), 48, replace=False)
    w, _ = joint_pairs(spec, theta[i], phi, f)
    assert_within(y[i], *weighted_sums(w, g))


@BITS64
@pytest.mark.parametrize(
    ("pairwise", "normalization"),
    [("embedded_gaussian", "sum"), ("concatenation", "sum"), ("concatenation", "count")],
)
def test_gradients_with_every_size_2048(pairwise, normalization, rng):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, dy, f = joint_problem(spec, rng)
    grads = operation_vjp(spec, theta[None], phi[None], g[None], dy[None], *f)
    i, j, k = (rng.choice(2048, 8, replace=False) for _ in range(3))
    w, dw = joint_pairs(spec, theta, phi, f)  # (N, M)
    dp, dp_size = dy @ g.T, np.abs(dy) @ np.abs(g).T  # exact
    if normalization == "sum":
        delta, delta_size = (w * dp).sum(1), (np.abs(w) * dp_size).sum(1)
        dp, dp_size = dp - delta[:, None], dp_size + delta_size[:, None]
    dt, dt_size = dw * dp, np.abs(dw) * dp_size  # (N, M)
    assert_within(grads["g"][0][j], *weighted_sums(w.T[j], dy))
    if pairwise == "concatenation":
        da, db, da_size, db_size = dt.sum(1), dt.sum(0), dt_size.sum(1), dt_size.sum(0)
        weight = np.abs(f[0])
        assert_within(
            grads["theta"][0], np.outer(da, f[0][:2048]), np.outer(da_size, weight[:2048])
        )
        assert_within(grads["phi"][0], np.outer(db, f[0][2048:]), np.outer(db_size, weight[2048:]))
        value = [da @ theta[:, k], db @ phi[:, k]]
        size = [da_size @ np.abs(theta[:, k]), db_size @ np.abs(phi[:, k])]
        assert_within(grads["f.weight"][[*k, *(2048 + k)]], np.ravel(value), np.ravel(size))
        assert_within(grads["f.bias"], dt.sum(), dt_size.sum())
        return
    for actual, terms, sizes, rows in (
        (grads["theta"][0][i], dt[i], dt_size[i], phi),
        (grads["phi"][0][j], dt.T[j], dt_size.T[j], theta),
    ):
        value, _ = weighted_sums(terms, rows[:, k])
        magnitude, _ = weighted_sums(sizes, np.abs(rows[:, k]))
        assert_within(actual[:, k], value, magnitude)


@pytest.mark.parametrize(("pairwise", "normalization"), DISTINCT)
def test_same_bits_with_1_and_3_threads(pairwise, normalization, rng, threads):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, dy, *f = problem(spec, rng, 131, 67, 9, 5)

    def bits():
        results = {"y": operation(spec, theta, phi, g, *f)}
        results |= operation_vjp(spec, theta, phi, g, dy, *f)
        return {name: value.tobytes() for name, value in results.items()}

    threads(1)
    one = bits()
    threads(3)
    assert bits() == one


@pytest.mark.parametrize("sizes", [(150, 5000, 2, 2), (50, 5000, 2, 2), (400, 3, 2, 2)])
@pytest.mark.parametrize(("pairwise", "normalization"), DISTINCT)
def test_items_of_a_batch_are_apart(pairwise, normalization, sizes, rng):
    """Each item's bits are what it has alone, however the rows (b, i) are taken in turns."""
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, dy, *f = problem(spec, rng, *sizes, batch=3)
    y, grads = operation(spec, theta, phi, g, *f), operation_vjp(spec, theta, phi, g, dy, *f)
    for b in range(3):
        alone = [a[b : b + 1] for a in (theta, phi, g, dy)]
        np.testing.assert_array_equal(y[b], operation(spec, *alone[:3], *f)[0])
        expected = operation_vjp(spec, *alone, *f)
        for name in ("theta", "phi", "g"):
            np.testing.assert_array_equal(grads[name][b], expected[name][0])


# Where C(x) = 0, kinks, and values that are not finite


def test_relu_that_is_off_everywhere_in_a_row():
    spec = NonLocalSpec(4, pairwise="concatenation", normalization="sum")
    theta, phi = np.array([[[-9.0], [1.0]]]), np.array([[[1.0], [2.0]]])
    g, dy = np.array([[[3.0], [5.0]]]), np.array([[[1.0], [1.0]]])
    f = np.array([1.0, 1.0])
    y = operation(spec, theta, phi, g, f)
    assert y[0, 0, 0] == 0.0
    assert y[0, 1, 0] == (2.0 * 3.0 + 3.0 * 5.0) / 5.0
    with_row, without = (
        operation_vjp(spec, t, phi, g, dy[:, : t.shape[1]], f) for t in (theta, theta[:, 1:])
    )
    assert with_row["theta"][0, 0, 0] == 0.0
    for name in ("phi", "g", "f.bias"):
        np.testing.assert_array_equal(with_row[name], without[name])


def test_dot_products_that_add_up_to_zero():
    spec = NonLocalSpec(4, pairwise="dot_product", normalization="sum")
    theta, phi = np.array([[[0.1], [0.0]]]), np.array([[[0.3], [-0.3]]])
    g = np.array([[[3.0], [5.0]]])
    np.testing.assert_array_equal(operation(spec, theta, phi, g), np.zeros((1, 2, 1)))
    for grad in operation_vjp(spec, theta, phi, g, np.ones((1, 2, 1))).values():
        np.testing.assert_array_equal(grad, np.zeros_like(grad))


@pytest.mark.parametrize("normalization", ["sum", "count"])
def test_derivative_of_the_relu_at_0_is_0(normalization):
    spec = NonLocalSpec(4, pairwise="concatenation", normalization=normalization)
    theta, phi = np.array([[[1.0]]]), np.array([[[-1.0], [2.0]]])  # t = 0 and 3
    g, dy = np.array([[[3.0], [5.0]]]), np.array([[[1.0]]])
    grads = operation_vjp(spec, theta, phi, g, dy, np.ones(2))
    assert grads["phi"][0, 0, 0] == 0.0
    assert grads["theta"][0, 0, 0] == (2.5 if normalization == "count" else 0.0)


def plain(spec, theta, phi, g, dy, f_weight=None, f_bias=None):
    """The formulas in plain float64 NumPy: y, and the gradients of theta, phi and g."""
    by_sum = spec.normalization == "sum"
    with np.errstate(all="ignore"):
        if spec.pairwise == "concatenation":
            weights = f_weight[: theta.shape[-1]], f_weight[theta.shape[-1] :]
            a, b = theta @ weights[0], phi @ weights[1]
            t = a[:, :, None] + b[:, None, :] + f_bias
            f, slope = np.maximum(t, 0.0), np.where(t <= 0.0, 0.0, 1.0)
        else:
            t = spec.scale * np.einsum("bid,bjd->bij", theta, phi)
            if by_sum and spec.pairwise != "dot_product":  # as every softmax does, for exp(1000)
                t = t - t.max(-1, keepdims=True)
            f = t if spec.pairwise == "dot_product" else np.exp(t)
            slope = np.full_like(f, spec.scale) if f is t else spec.scale * f
        c = f.sum(-1, keepdims=True) if by_sum else np.full((*f.shape[:2], 1), f.shape[-1])
        w, slope = np.where(c == 0.0, 0.0, f / c), np.where(c == 0.0, 0.0, slope / c)
        dp = np.einsum("biv,bjv->bij", dy, g)
        dt = slope * (dp - (w * dp).sum(-1, keepdims=True) if by_sum else dp)
        dt = np.where(c == 0.0, 0.0, dt)
        if spec.pairwise == "concatenation":
            dtheta = dt.sum(2)[..., None] * weights[0]
            dphi = dt.sum(1)[..., None] * weights[1]
        else:
            dtheta = np.einsum("bij,bjd->bid", dt, phi)
            dphi = np.einsum("bij,bid->bjd", dt, theta)
        y = np.where(c == 0.0, 0.0, np.einsum("bij,bjv->biv", w, g))
        return y, {"theta": dtheta, "phi": dphi, "g": np.einsum("bij,biv->bjv", w, dy)}


def kinds(a):
    """0 finite, 1 inf, -1 -inf, 2 NaN."""
    return np.where(np.isnan(a), 2, np.where(np.isinf(a), np.sign(a), 0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["theta", "phi", "g", "dy"])
@pytest.mark.parametrize(("pairwise", "normalization"), EVERY)
def test_not_finite(pairwise, normalization, where, value, rng):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    theta, phi, g, dy, *f = problem(spec, rng, 6, 7, 3, 2)
    {"theta": theta, "phi": phi, "g": g, "dy": dy}[where][1, 2, 1] = value
    y, grads = operation(spec, theta, phi, g, *f), operation_vjp(spec, theta, phi, g, dy, *f)
    expected, expected_grads = plain(spec, theta, phi, g, dy, *f)
    np.testing.assert_array_equal(kinds(y), kinds(expected))
    for name, grad in expected_grads.items():
        np.testing.assert_array_equal(np.isnan(grads[name]), np.isnan(grad), name)
    clean = operation_vjp(spec, *(a[:1] for a in (theta, phi, g, dy)), *f)
    for name in ("theta", "phi", "g"):
        np.testing.assert_array_equal(grads[name][:1], clean[name])


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_overflow_under_a_count_is_infinite(pairwise, rng):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization="count")
    theta, phi, g, dy, *f = problem(spec, rng, 4, 5, 3, 2)
    theta, phi, g = 1e160 * theta, 1e160 * phi, np.abs(g)
    y = operation(spec, theta, phi, g, *f)
    np.testing.assert_array_equal(kinds(y), kinds(plain(spec, theta, phi, g, dy, *f)[0]))


# Arguments


FORMS = {
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "bfloat16": lambda a: a.astype(ml_dtypes.bfloat16),
    "big-endian": lambda a: a.astype(">f8"),
    "big-endian float32": lambda a: a.astype(">f4"),
    "Fortran order": lambda a: np.asfortranarray(a) if a.ndim else a,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2] if a.ndim else a,
    "reversed": lambda a: a[::-1].copy()[::-1] if a.ndim else a,
    "read-only": lambda a: np.broadcast_to(a, a.shape),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_any_form_of_array_is_its_float64_values(pairwise, form, rng):
    spec = NonLocalSpec(4, pairwise=pairwise)
    theta, phi, g, dy, *f = [FORMS[form](a) for a in problem(spec, rng, 4, 5, 3, 2)]
    same = [np.array(np.asarray(a).astype(np.float64), order="C") for a in (theta, phi, g, dy, *f)]
    y = operation(spec, theta, phi, g, *f)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, operation(spec, *same[:3], *same[4:]))
    grads = operation_vjp(spec, theta, phi, g, dy, *f)
    for name, value in operation_vjp(spec, *same).items():
        assert grads[name].dtype == np.float64
        np.testing.assert_array_equal(grads[name], value)


def test_arguments_are_left_alone(rng):
    spec = NonLocalSpec(4, pairwise="concatenation", normalization="sum")
    arguments = problem(spec, rng, 4, 5, 3, 2)
    before = [a.copy() for a in arguments]
    operation_vjp(spec, *arguments)
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_bias_is_a_bias_of_0(rng):
    spec = NonLocalSpec(4, pairwise="concatenation")
    theta, phi, g, _, weight, _ = problem(spec, rng, 4, 5, 3, 2)
    np.testing.assert_array_equal(
        operation(spec, theta, phi, g, weight), operation(spec, theta, phi, g, weight, 0.0)
    )


SHAPES = {"theta": (2, 4, 3), "phi": (2, 5, 3), "g": (2, 5, 6)}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("theta", (1, 4, 3)),
        ("theta", (2, 4, 2)),
        ("theta", (4, 3)),
        ("theta", (2, 0, 3)),
        ("phi", (2, 6, 3)),
        ("phi", (2, 5, 4)),
        ("phi", (2, 5, 3, 1)),
        ("g", (2, 4, 6)),
        ("g", (3, 5, 6)),
        ("g", (2, 5, 0)),
    ],
)
def test_shapes_that_do_not_go_together(name, shape):
    a = {n: np.zeros(s) for n, s in (SHAPES | {name: shape}).items()}
    received = re.escape(f"{name} {shape}")
    with pytest.raises(ValueError, match=rf"\(B, N, D\), \(B, M, D\).*received.*{received}"):
        operation(NonLocalSpec(4), **a)
    with pytest.raises(ValueError, match=rf"\(B, N, D\), \(B, M, D\).*received.*{received}"):
        operation_vjp(NonLocalSpec(4), **a, dy=np.zeros((2, 4, 6)))


@pytest.mark.parametrize("name", ["theta", "phi", "g", "dy", "f_weight", "f_bias"])
@pytest.mark.parametrize("dtype", [np.int64, bool, np.complex128, object])
def test_arrays_that_are_not_floating_point(name, dtype):
    spec = NonLocalSpec(4, pairwise="concatenation")
    shapes = SHAPES | {"dy": (2, 4, 6), "f_weight": (6,), "f_bias": ()}
    a = {n: np.zeros(s, dtype if n == name else float) for n, s in shapes.items()}
    with pytest.raises(TypeError, match=f"^{name} must be floating point.*received dtype"):
        operation_vjp(spec, **a)


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 5, 6), (1, 4, 6), (4, 6)])
def test_dy_of_another_shape(shape):
    a = {n: np.zeros(s) for n, s in SHAPES.items()}
    with pytest.raises(ValueError, match=r"dy must have shape \(2, 4, 6\).*received shape"):
        operation_vjp(NonLocalSpec(4), **a, dy=np.zeros(shape))


@pytest.mark.parametrize(
    ("f", "match"),
    [
        ({"f_weight": np.zeros(5)}, r"f_weight must have shape \(6,\).*received shape \(5,\)"),
        ({"f_weight": np.zeros((6, 1))}, r"f_weight must have shape \(6,\).*received"),
        ({"f_weight": np.zeros(6), "f_bias": np.zeros(1)}, r"f_bias must have shape \(\)"),
        ({}, "f_weight must .* for pairwise='concatenation'"),
        ({"f_bias": 0.0}, "f_weight must .* for pairwise='concatenation'"),
    ],
)
def test_pair_weights_of_the_concatenation(f, match):
    a = {n: np.zeros(s) for n, s in SHAPES.items()}
    with pytest.raises(ValueError, match=match):
        operation(NonLocalSpec(4, pairwise="concatenation"), **a, **f)


@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "dot_product"])
@pytest.mark.parametrize(
    ("f", "match"),
    [
        ({"f_weight": np.zeros(6)}, "must be None for every other.*received shape \\(6,\\)"),
        ({"f_bias": 0.0}, "f_bias is the concatenation's"),
    ],
)
def test_pair_weights_of_another_pairwise_function(pairwise, f, match):
    a = {n: np.zeros(s) for n, s in SHAPES.items()}
    with pytest.raises(ValueError, match=match):
        operation(NonLocalSpec(4, pairwise=pairwise), **a, **f)
