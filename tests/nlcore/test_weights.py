"""Weight names and shapes of every kind of spec, their checks, and initial values."""

import re

import numpy as np
import pytest

from nlcore import NonLocalSpec, check_weights, init_weights, weight_shapes
from nlcore.weights import float64_weights, has_bias, identity_weights, init_std

BN = {"bn.weight": (6,), "bn.bias": (6,), "bn.running_mean": (6,), "bn.running_var": (6,)}
PLAIN = {"theta.weight": (4, 6), "phi.weight": (4, 6), "g.weight": (4, 6), "out.weight": (6, 4)}
WITH_BIAS = {
    "theta.weight": (4, 6),
    "theta.bias": (4,),
    "phi.weight": (4, 6),
    "phi.bias": (4,),
    "g.weight": (4, 6),
    "g.bias": (4,),
    "out.weight": (6, 4),
    "out.bias": (6,),
}
F = {"f.weight": (8,)}
PAIR_BIAS = {"f.weight": (8,), "f.bias": ()}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"pairwise": "gaussian"}, {"g.weight": (4, 6), "out.weight": (6, 4), **BN}),
        (
            {"pairwise": "gaussian", "bias": True, "batch_norm": False},
            {"g.weight": (4, 6), "g.bias": (4,), "out.weight": (6, 4), "out.bias": (6,)},
        ),
        ({"pairwise": "embedded_gaussian"}, {**PLAIN, **BN}),
        ({"pairwise": "embedded_gaussian", "bias": True}, {**WITH_BIAS, **BN}),
        ({"pairwise": "dot_product", "batch_norm": False}, PLAIN),
        ({"pairwise": "dot_product", "bias": True, "batch_norm": False}, WITH_BIAS),
        ({"pairwise": "concatenation"}, {**PLAIN, **F, **BN}),
        ({"pairwise": "concatenation", "bias": True}, {**WITH_BIAS, **F, **BN}),
        (
            {"pairwise": "concatenation", "pair_bias": True, "batch_norm": False},
            {**PLAIN, **PAIR_BIAS},
        ),
        (
            {"pairwise": "gaussian", "bias": "embeddings", "batch_norm": False},
            {"g.weight": (4, 6), "g.bias": (4,), "out.weight": (6, 4)},
        ),
        (
            {"bias": "embeddings", "value_channels": 5},
            {
                **{"theta.weight": (4, 6), "theta.bias": (4,), "phi.weight": (4, 6)},
                **{"phi.bias": (4,), "g.weight": (5, 6), "g.bias": (5,), "out.weight": (6, 5)},
                **BN,
            },
        ),
        (
            {"pairwise": "concatenation", "value_channels": 3, "bias": True, "batch_norm": False},
            {
                **{"theta.weight": (4, 6), "theta.bias": (4,), "phi.weight": (4, 6)},
                **{"phi.bias": (4,), "g.weight": (3, 6), "g.bias": (3,), "f.weight": (8,)},
                **{"out.weight": (6, 3), "out.bias": (6,)},
            },
        ),
    ],
    ids=repr,
)
def test_weight_shapes(fields, expected):
    assert weight_shapes(NonLocalSpec(6, inner_channels=4, **fields)) == expected


def test_neither_positions_nor_eps_change_the_weights():
    expected = weight_shapes(NonLocalSpec(6))
    for fields in ({"ndim": 1}, {"subsample": (1, 2, 2)}, {"extent": "time"}, {"eps": 1e-3}):
        assert weight_shapes(NonLocalSpec(6, **fields)) == expected


SPEC = NonLocalSpec(6, inner_channels=4, pairwise="concatenation", pair_bias=True)


def weights():
    return {name: np.ones(shape) for name, shape in weight_shapes(SPEC).items()}


def test_weights_that_fit():
    check_weights(SPEC, weights())
    check_weights(SPEC, {name: value.tolist() for name, value in weights().items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("phi.weight"),
            "weight 'phi.weight' is missing: expected shape (4, 6); received ['bn.bias', ",
        ),
        (
            lambda w: w.update({"out.weight": np.ones((4, 6))}),
            "weight 'out.weight' must have shape (6, 4); received shape (4, 6)",
        ),
        (
            lambda w: w.update({"theta.weight": np.ones((4, 6, 1, 1, 1))}),
            "weight 'theta.weight' must have shape (4, 6); received shape (4, 6, 1, 1, 1)",
        ),
        (
            lambda w: w.update({"f.bias": np.ones(1)}),
            "weight 'f.bias' must have shape (); received shape (1,)",
        ),
        (
            lambda w: w.update({"g.bias": np.ones(4)}),
            f"weight 'g.bias' is not used by {SPEC!r}: expected exactly ",
        ),
    ],
)
def test_weights_that_do_not_fit(change, message):
    given = weights()
    change(given)
    with pytest.raises(ValueError, match=re.escape(message)):
        check_weights(SPEC, given)
    with pytest.raises(ValueError, match=re.escape(message)):
        float64_weights(SPEC, given)


def test_weights_must_be_a_mapping():
    with pytest.raises(TypeError, match="weights must be a mapping of name to array; received"):
        check_weights(SPEC, list(weights().items()))


def test_float64_weights_keep_values_shapes_and_order():
    given = {name: value.astype(np.float32, order="F") for name, value in weights().items()}
    given = dict(reversed(given.items()))
    out = float64_weights(SPEC, given)
    assert list(out) == list(weight_shapes(SPEC))
    for name, shape in weight_shapes(SPEC).items():
        assert isinstance(out[name], np.ndarray)
        assert out[name].dtype == np.float64 and out[name].shape == shape
        assert out[name].flags.c_contiguous
        np.testing.assert_array_equal(out[name], given[name])


def test_float64_weights_must_be_floating_point():
    given = weights() | {"g.weight": np.ones((4, 6), np.int64)}
    message = "weight 'g.weight' must be floating point, .*; received dtype int64"
    with pytest.raises(TypeError, match=message):
        float64_weights(SPEC, given)


@pytest.mark.parametrize("identity", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("init", ["he", "he_fan_out", "normal"])
@pytest.mark.parametrize(
    "pairwise", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
)
def test_initial_values(pairwise, init, batch_norm, identity):
    spec = NonLocalSpec(
        6,
        inner_channels=4,
        pairwise=pairwise,
        bias=True,
        pair_bias=pairwise == "concatenation",
        batch_norm=batch_norm,
    )
    drawn = init_weights(spec, np.random.default_rng(0), init=init, identity=identity)
    assert {name: value.shape for name, value in drawn.items()} == weight_shapes(spec)
    assert all(value.dtype == np.float64 for value in drawn.values())
    constant = {name: 0.0 for name in drawn if name.endswith(".bias")}
    constant["bn.running_mean"] = 0.0
    constant["bn.running_var"] = 1.0
    constant["bn.weight"] = 0.0 if identity else 1.0
    if identity and not batch_norm:
        constant["out.weight"] = 0.0
    for name, value in drawn.items():
        if name in constant:
            np.testing.assert_array_equal(value, constant[name])
        else:
            assert np.unique(value).size == value.size


@pytest.mark.parametrize("bias", [False, True, "embeddings"])
def test_the_identity_zeroes_the_bias_of_w_z_where_there_is_one(bias):
    names = identity_weights(NonLocalSpec(6, bias=bias, batch_norm=False))
    assert names == ("out.weight", "out.bias") if bias is True else ("out.weight",)
    assert identity_weights(NonLocalSpec(6, bias=bias)) == ("bn.weight", "bn.bias")


@pytest.mark.parametrize("bias", [False, True, "embeddings"])
def test_has_bias(bias):
    spec = NonLocalSpec(6, pairwise="concatenation", bias=bias, pair_bias=bias is True)
    for part in ("theta", "phi", "g", "f", "out"):
        assert has_bias(spec, part) is (f"{part}.bias" in weight_shapes(spec))


@pytest.mark.parametrize(
    ("name", "he", "fan_out"),
    [
        ("theta.weight", (2 / 200) ** 0.5, (2 / 160) ** 0.5),
        ("g.weight", (2 / 200) ** 0.5, (2 / 90) ** 0.5),
        ("f.weight", (2 / 320) ** 0.5, 2**0.5),
        ("out.weight", (2 / 90) ** 0.5, (2 / 200) ** 0.5),
    ],
)
def test_standard_deviations(name, he, fan_out):
    spec = NonLocalSpec(200, inner_channels=160, value_channels=90, pairwise="concatenation")
    assert init_std(spec, name, "he") == pytest.approx(he, rel=1e-15)
    assert init_std(spec, name, "he_fan_out") == pytest.approx(fan_out, rel=1e-15)
    assert init_std(spec, name, "normal") == 0.01
    for init, std in (("he", he), ("he_fan_out", fan_out), ("normal", 0.01)):
        drawn = init_weights(spec, np.random.default_rng(1), init=init)[name]
        # A sample deviation of n normal values is off by std / sqrt(2 n); five of those.
        assert drawn.std() == pytest.approx(std, rel=5 / (2 * drawn.size) ** 0.5)
        assert abs(drawn.mean()) < 5 * std / drawn.size**0.5


def test_initial_weights_repeat_with_the_seed():
    first, second = (init_weights(SPEC, np.random.default_rng(7)) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_unknown_init():
    message = re.escape("init must be one of ('he', 'he_fan_out', 'normal'); received 'xavier'")
    with pytest.raises(ValueError, match=message):
        init_weights(SPEC, np.random.default_rng(0), init="xavier")
    with pytest.raises(ValueError, match=message):
        init_std(SPEC, "g.weight", "xavier")
