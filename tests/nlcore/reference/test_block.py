"""The block and its gradients against the oracle, and what holds of them without one."""

import itertools

import ml_dtypes
import numpy as np
import oracle
import pytest

from nlcore import NonLocalSpec, block, block_vjp, operation, weight_shapes
from nlcore.spec import NORMALIZATIONS, PAIRWISE

EVERY = list(itertools.product(PAIRWISE, NORMALIZATIONS))
KINDS = {  # fields and positions: sizes that pooling windows do not divide, where nothing forbids
    "1d": ({"ndim": 1}, (5,)),
    "1d pooled": ({"ndim": 1, "subsample": (2,)}, (7,)),
    "2d": ({"ndim": 2}, (2, 3)),
    "2d pooled": ({"ndim": 2, "subsample": (2, 1)}, (5, 2)),
    "2d pooled at the input": (
        {"ndim": 2, "subsample": (2, 2), "subsample_at": "input"},
        (4, 3),
    ),
    "3d pooled": ({"subsample": (1, 2, 2)}, (2, 3, 2)),
    "space": ({"extent": "space", "subsample": (1, 1, 2)}, (2, 2, 3)),
    "space at the input": (
        {"extent": "space", "subsample": (1, 2, 1), "subsample_at": "input"},
        (2, 3, 2),
    ),
    "time": ({"extent": "time"}, (3, 2, 1)),
    "time pooled": ({"extent": "time", "subsample": (2, 1, 1)}, (5, 2, 1)),
    "window": ({"window": 2, "subsample": (1, 1, 2), "subsample_at": "input"}, (4, 1, 3)),
}
#: Fields, and whether in training form; each kind and pairwise function meets each in its turn.
FORMS = [
    ({"batch_norm": True, "bias": True}, False),
    ({"batch_norm": True, "bias": False}, True),
    ({"batch_norm": False, "bias": True}, False),
    ({"batch_norm": True, "bias": True, "eps": 0.1}, True),
]
#: The same, with a g of its own width, and without a bias of W_z.
VALUES = [
    ({"value_channels": 4, "batch_norm": False, "bias": "embeddings"}, False),
    ({"value_channels": 1, "batch_norm": True, "bias": "embeddings"}, True),
    ({"value_channels": 3, "batch_norm": True, "bias": True}, False),
]


def problem(rng, positions, pairwise="embedded_gaussian", batch=2, **fields):
    """(spec, weights, x, dz)."""
    if pairwise == "concatenation":
        fields |= {"pair_bias": bool(fields.get("bias", False))}
    else:
        fields |= {"scale": 0.8}
    spec = NonLocalSpec(3, 2, pairwise=pairwise, **({"ndim": len(positions)} | fields))
    weights = {name: rng.normal(size=shape) for name, shape in weight_shapes(spec).items()}
    if "bn.running_var" in weights:
        weights["bn.running_var"] = rng.uniform(0.5, 2.0, 3)
    x, dz = rng.normal(size=(2, batch, 3, *positions))
    return spec, weights, x, dz


def ratios(spec, weights, x, dz, training):
    z, (dx, grads) = block(spec, weights, x, training), block_vjp(spec, weights, x, dz, training)
    w = {name: oracle.numbers(value) for name, value in weights.items()}
    rows, drows = (oracle.numbers(np.moveaxis(a, 1, -1)) for a in (x, dz))
    expected_dx, expected = oracle.block_vjp(spec, w, rows, drows, training)
    worst = {
        "z": oracle.ratio(np.moveaxis(z, 1, -1), oracle.block(spec, w, rows, training)),
        "x": oracle.ratio(np.moveaxis(dx, 1, -1), expected_dx),
    }
    assert set(grads) == set(expected)
    return worst | {name: oracle.ratio(grads[name], expected[name]) for name in grads}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("pairwise", "normalization"), EVERY)
def test_against_the_oracle(pairwise, normalization, kind, rng):
    fields, positions = KINDS[kind]
    turn = list(KINDS).index(kind) + EVERY.index((pairwise, normalization))
    more, training = FORMS[turn % len(FORMS)]
    fields = fields | more | {"pairwise": pairwise, "normalization": normalization}
    spec, weights, x, dz = problem(rng, positions, **fields)
    for name, worst in ratios(spec, weights, x, dz, training).items():
        assert worst <= 8.0, f"{name}: error = {worst:.3g} u magnitude"


@pytest.mark.parametrize(("more", "training"), VALUES, ids=repr)
@pytest.mark.parametrize(("pairwise", "normalization"), EVERY)
def test_a_width_of_g_of_its_own_against_the_oracle(pairwise, normalization, more, training, rng):
    kinds = list(KINDS.values())
    turn = 4 * VALUES.index((more, training)) + EVERY.index((pairwise, normalization))
    fields, positions = kinds[turn % len(kinds)]
    fields = fields | more | {"pairwise": pairwise, "normalization": normalization}
    spec, weights, x, dz = problem(rng, positions, **fields)
    assert ("out.bias" in weights) is (spec.bias is True)
    for name, worst in ratios(spec, weights, x, dz, training).items():
        assert worst <= 8.0, f"{name}: error = {worst:.3g} u magnitude"


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_names_are_in_the_order_of_weight_shapes(pairwise, rng):
    spec, weights, x, dz = problem(rng, (2, 1, 2), pairwise=pairwise, bias=True)
    shuffled = {name: weights[name] for name in sorted(weights, reverse=True)}
    _, grads = block_vjp(spec, shuffled, x, dz)
    shapes = {n: s for n, s in weight_shapes(spec).items() if "running" not in n}
    assert list(grads) == list(shapes)
    assert {n: a.shape for n, a in grads.items()} == shapes
    assert all(isinstance(a, np.ndarray) and a.dtype == np.float64 for a in grads.values())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_gradients_are_linear_in_dz(pairwise, training, rng):
    spec, weights, x, dz = problem(rng, (2, 3), pairwise=pairwise, bias=True)
    other = rng.normal(size=dz.shape)

    def vjp(d):
        dx, grads = block_vjp(spec, weights, x, d, training)
        return {"x": dx, **grads}

    one, two, both, half = vjp(dz), vjp(other), vjp(dz + other), vjp(0.5 * dz)
    for name in one:
        np.testing.assert_allclose(both[name], one[name] + two[name], rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(half[name], 0.5 * one[name])  # no rounding changes


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_statistics_of_the_batch_or_given(pairwise, rng):
    """Training form is inference form with the statistics of W_z y + b over B and positions."""
    spec, weights, x, _ = problem(rng, (2, 3), pairwise=pairwise, bias=True)
    before = {name: value.copy() for name, value in weights.items()}
    plain = NonLocalSpec(
        3,
        2,
        ndim=2,
        pairwise=pairwise,
        scale=spec.scale,
        bias=True,
        pair_bias=spec.pair_bias,
        batch_norm=False,
    )
    out = block(plain, {n: weights[n] for n in weight_shapes(plain)}, x) - x
    statistics = {"bn.running_mean": out.mean((0, 2, 3)), "bn.running_var": out.var((0, 2, 3))}
    np.testing.assert_allclose(
        block(spec, weights, x, training=True), block(spec, weights | statistics, x), rtol=1e-12
    )
    for name, value in before.items():
        np.testing.assert_array_equal(weights[name], value)


def test_zero_weight_of_the_normalization_is_the_identity(rng):
    spec, weights, x, dz = problem(rng, (2, 3))
    weights |= {"bn.weight": np.zeros(3), "bn.bias": np.zeros(3)}
    for training in (False, True):
        np.testing.assert_array_equal(block(spec, weights, x, training), x)
        np.testing.assert_array_equal(block_vjp(spec, weights, x, dz, training)[0], dz)


def test_one_position_in_one_item_in_training_form(rng):
    """The variance is 0: xhat is 0, and only eps stands below it."""
    spec, weights, x, dz = problem(rng, (1,), batch=1)
    z = block(spec, weights, x, training=True)
    np.testing.assert_array_equal(z, weights["bn.bias"].reshape(1, 3, 1) + x)
    dx, grads = block_vjp(spec, weights, x, dz, training=True)
    np.testing.assert_array_equal(dx, dz)
    np.testing.assert_array_equal(grads["bn.weight"], np.zeros(3))


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_same_bits_with_1_and_3_threads(pairwise, rng, threads):
    spec, weights, x, dz = problem(
        rng, (9, 14), pairwise=pairwise, subsample=(2, 2), normalization="sum"
    )

    def bits():
        dx, grads = block_vjp(spec, weights, x, dz, training=True)
        results = {"z": block(spec, weights, x, training=True), "x": dx, **grads}
        return {name: value.tobytes() for name, value in results.items()}

    threads(1)
    one = bits()
    threads(3)
    assert bits() == one


def identity(spec):
    """Weights with which g, theta and phi are x and the block adds y to x."""
    shapes = weight_shapes(spec)
    return {
        name: np.eye(*shape) if len(shape) == 2 else np.ones(shape)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("at", ["embedding", "input"])
def test_a_tie_goes_to_the_first_position_in_row_major_order(at):
    spec = NonLocalSpec(
        1, 1, ndim=2, pairwise="dot_product", subsample=(2, 2), subsample_at=at, batch_norm=False
    )
    weights = identity(spec)
    x = np.array([[1.0, 3.0], [3.0, 3.0]])[None, None]
    dz = np.array([[1.0, 0.0], [0.0, 0.0]])[None, None]
    # z_00 = x_00 + x_00 m m with m the maximum: dz_00/dx_00 = 1 + m^2, and 2 x_00 m at the maximum
    np.testing.assert_array_equal(block(spec, weights, x)[0, 0], [[10.0, 30.0], [30.0, 30.0]])
    dx, _ = block_vjp(spec, weights, x, dz)
    np.testing.assert_array_equal(dx[0, 0], [[10.0, 6.0], [0.0, 0.0]])


@pytest.mark.parametrize("at", ["embedding", "input"])
def test_what_fills_no_window_is_not_seen(at, rng):
    spec, weights, x, dz = problem(rng, (5, 3), subsample=(2, 2), subsample_at=at)
    dz[:, :, 4], dz[:, :, :, 2] = 0.0, 0.0  # as positions i, the dropped ones are not asked about
    moved = x.copy()
    moved[:, :, 4], moved[:, :, :, 2] = 7.0, -7.0
    np.testing.assert_array_equal(
        block(spec, weights, x)[:, :, :4, :2], block(spec, weights, moved)[:, :, :4, :2]
    )
    dx, _ = block_vjp(spec, weights, x, dz)
    assert not dx[:, :, 4].any()
    assert not dx[:, :, :, 2].any()
    assert dx[:, :, :4, :2].any()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "g.weight", "out.weight", "bn.running_mean"])
@pytest.mark.parametrize(("pairwise", "normalization"), EVERY)
def test_not_finite(pairwise, normalization, where, value, training, rng):
    """No warning, nothing lost, and the other items of the batch are what they were."""
    spec, weights, x, dz = problem(
        rng, (3, 4), pairwise=pairwise, normalization=normalization, subsample=(2, 2)
    )
    clean, (clean_dx, _) = block(spec, weights, x), block_vjp(spec, weights, x, dz)
    {"x": x[1], **weights}[where].flat[0] = value
    z, (dx, grads) = block(spec, weights, x, training), block_vjp(spec, weights, x, dz, training)
    if where == "x":
        # beside itself, position 0 is a position j of all of item 1, unless ReLU or pooling drop it
        assert not np.isfinite(z[1, 0, 0, 0])
        if np.isnan(value):
            assert np.isnan(z[1]).all() or pairwise == "concatenation"
        if not training:
            np.testing.assert_array_equal(z[0], clean[0])
            np.testing.assert_array_equal(dx[0], clean_dx[0])
        assert not all(np.isfinite(a).all() for a in grads.values())
    elif where == "g.weight":  # y is 0 in the rows where a ReLU is off for every j and C is a sum
        assert not np.isfinite(z[:, 0]).all()
        assert not np.isfinite(z).any() or pairwise == "concatenation"
    elif where == "out.weight" or not training:
        assert not np.isfinite(z[:, 0]).any()
        assert np.isfinite(z[:, 1:]).all()
    else:
        assert np.isfinite(z).all()  # the batch's statistics are used


@pytest.mark.parametrize(
    "form", ["float32", "float16", "bfloat16", ">f8", ">f4", "Fortran", "strided", "read-only"]
)
def test_any_form_of_array_is_its_float64_values(form, rng):
    def formed(a):
        if form == "Fortran":
            return np.asfortranarray(a)
        if form == "strided":
            return np.repeat(a, 2, axis=-1)[..., ::2]
        if form == "read-only":
            return np.broadcast_to(a, a.shape)
        return a.astype(ml_dtypes.bfloat16 if form == "bfloat16" else form)

    spec, weights, x, dz = problem(rng, (3, 4), subsample=(2, 2), bias=True)
    weights, x, dz = {n: formed(a) for n, a in weights.items()}, formed(x), formed(dz)
    same = (
        {n: a.astype(np.float64) for n, a in weights.items()},
        *(a.astype(np.float64) for a in (x, dz)),
    )
    z = block(spec, weights, x)
    assert z.dtype == np.float64
    assert z.flags.c_contiguous
    np.testing.assert_array_equal(z, block(spec, *same[:2]))
    dx, grads = block_vjp(spec, weights, x, dz)
    expected_dx, expected = block_vjp(spec, *same)
    np.testing.assert_array_equal(dx, expected_dx)
    for name, value in expected.items():
        np.testing.assert_array_equal(grads[name], value)


def test_the_gaussian_is_the_operation_on_x_itself(rng):
    spec = NonLocalSpec(3, 3, ndim=1, pairwise="gaussian", batch_norm=False)
    x = rng.normal(size=(2, 3, 4))
    rows = x.transpose(0, 2, 1)
    y = operation(spec, rows, rows, rows).transpose(0, 2, 1)
    np.testing.assert_array_equal(block(spec, identity(spec), x), y + x)


def test_arguments_are_left_alone(rng):
    spec, weights, x, dz = problem(rng, (3, 4), subsample=(2, 2), subsample_at="input", bias=True)
    before = {n: a.copy() for n, a in (weights | {"x": x, "dz": dz}).items()}
    block_vjp(spec, weights, x, dz, training=True)
    for name, value in (weights | {"x": x, "dz": dz}).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 1), (1, 3, 3, 4), (2, 3, 4, 3)])
def test_dz_of_another_shape(shape, rng):
    spec, weights, x, _ = problem(rng, (3, 4))
    with pytest.raises(ValueError, match=r"dz must have x's shape \(2, 3, 3, 4\); received shape"):
        block_vjp(spec, weights, x, np.zeros(shape))


@pytest.mark.parametrize("dtype", [np.int64, bool, np.complex128, object])
@pytest.mark.parametrize("name", ["x", "dz", "g.weight", "bn.running_var"])
def test_arrays_that_are_not_floating_point(name, dtype, rng):
    spec, weights, x, dz = problem(rng, (3, 4))
    a = weights | {"x": x, "dz": dz}
    a[name] = a[name].astype(dtype)
    x, dz = a.pop("x"), a.pop("dz")
    with pytest.raises(TypeError, match=rf"\b{name}\b.* must be floating point.*received dtype"):
        block_vjp(spec, a, x, dz)


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((2, 3, 4), r"x must have shape \(B, 3, H, W\); received shape"),
        ((2, 4, 3, 4), r"x must have 3 channels.*received shape"),
        ((0, 3, 3, 4), "x must have no axis of size 0"),
        ((2, 3, 1, 4), "axis H must be at least its pooling window 2; received size 1"),
    ],
)
def test_x_of_a_wrong_shape(shape, match, rng):
    spec, weights, _, _ = problem(rng, (3, 4), subsample=(2, 2))
    with pytest.raises(ValueError, match=match):
        block(spec, weights, np.zeros(shape))
    with pytest.raises(ValueError, match=match):
        block_vjp(spec, weights, np.zeros(shape), np.zeros(shape))


def test_window_that_does_not_divide(rng):
    spec, weights, _, _ = problem(rng, (4, 1, 2), window=2)
    with pytest.raises(ValueError, match="window=2 must divide T; received T=5"):
        block(spec, weights, np.zeros((1, 3, 5, 1, 2)))


def test_weights_of_another_spec(rng):
    spec, weights, x, dz = problem(rng, (3, 4))
    for bad, match in (
        ({n: a for n, a in weights.items() if n != "phi.weight"}, "'phi.weight' is missing"),
        (weights | {"f.weight": np.zeros(4)}, "'f.weight' is not used"),
        (weights | {"theta.weight": np.zeros((3, 2))}, r"'theta.weight' must have shape \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=match):
            block(spec, bad, x)
        with pytest.raises(ValueError, match=match):
            block_vjp(spec, bad, x, dz)
