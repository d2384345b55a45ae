"""What an adapter says of a block: which specs it supports, and where its weights are."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore import NonLocalSpec, init_weights
from nlcore.wrapped_block import Place, WrappedBlock, placement

SPEC = NonLocalSpec(6, 4, bias=True, batch_norm=False)
PACKED = {
    ("theta.weight", "phi.weight", "g.weight"): "qkv.weight",
    ("theta.bias", "phi.bias", "g.bias"): "qkv.bias",
    "out.weight": "out.weight",
    "out.bias": "out.bias",
}
SHAPES = {"qkv.weight": (12, 6, 1), "qkv.bias": (12,), "out.weight": (6, 4), "out.bias": (1, 6)}


def wrapped(parameters=PACKED, **options) -> WrappedBlock:
    defaults = {
        "supports": None,
        "dtypes": ("float32",),
        "axes": "channels_first",
        "inputs_first": False,
        "output": lambda returned: returned,
        "init": None,
    }
    return WrappedBlock("mine", lambda spec: None, parameters, **defaults | options)


def test_a_placement_names_parameters_and_absent_weights():
    places, absent = placement({("theta.bias", "phi.bias"): "b", "out.bias": None, "f.bias": "f"})
    assert places == [Place("b", ("theta.bias", "phi.bias")), Place("f", ("f.bias",))]
    assert absent == ["out.bias"]
    assert places[0].learned and not Place("var", ("bn.running_var",)).learned


@pytest.mark.parametrize(
    "parameters, says",
    [
        ({"thetas.weight": "t"}, r"must name weights of \('theta.weight', .*'thetas.weight'"),
        ({"g.bias": "a", ("phi.bias", "g.bias"): "b"}, "once; received 'g.bias' twice"),
        ({"g.bias": "a", "phi.bias": "a"}, "once; received 'parameter a' twice"),
    ],
)
def test_names_that_are_unknown_or_given_twice_are_errors(parameters, says):
    with pytest.raises(ValueError, match=says):
        wrapped(parameters)
    with pytest.raises(ValueError, match=says):
        wrapped(lambda spec: parameters).supports(SPEC, "float32")


def test_other_options_are_errors():
    with pytest.raises(ValueError, match=r"axes must be one of .*; received 'NHWC'"):
        wrapped(axes="NHWC")
    with pytest.raises(ValueError, match=r"init must be None or one of .*; received 'xavier'"):
        wrapped(init="xavier")


def test_the_reason_is_the_first_rule_that_does_not_hold():
    rules = {"ndim is 3": lambda spec: spec.ndim == 3, "no bias": lambda spec: not spec.bias}
    block = wrapped(supports=rules)
    assert block.supports(SPEC, "float32") == "no bias"
    assert block.supports(NonLocalSpec(6, ndim=2, bias=True), "float32") == "ndim is 3"
    assert block.supports(SPEC, "float16") == "dtype is one of float32"


def test_a_predicate_says_why_or_no():
    said = {1: True, 2: "not images", 3: False}
    block = wrapped(supports=lambda spec: said[spec.ndim])
    found = [
        block.supports(NonLocalSpec(6, ndim=ndim, batch_norm=False), "float32")
        for ndim in (1, 2, 3)
    ]
    assert found[:2] == [True, "not images"] and found[2].startswith("mine does not support NonLo")


def test_a_weight_without_a_place_is_named():
    spec = NonLocalSpec(6, 4, bias=True)
    assert wrapped().supports(spec, "float32") == "`parameters` names no parameter for bn.weight"
    assert wrapped().supports(SPEC, "float32") is True
    bare = PACKED | {"out.bias": None}
    assert wrapped(bare).supports(SPEC, "float32") is True


@pytest.mark.parametrize("inputs_first", [False, True])
def test_weights_and_parameters_are_each_others_inverse(inputs_first):
    shapes = dict(SHAPES)
    if inputs_first:
        shapes |= {"qkv.weight": (1, 6, 12), "out.weight": (4, 6)}
    weights = init_weights(SPEC, np.random.default_rng(0), identity=False)
    weights = {
        name: value + np.arange(value.size).reshape(value.shape) for name, value in weights.items()
    }
    block = wrapped(inputs_first=inputs_first)
    values = block._values(SPEC, weights, shapes, list(shapes))
    assert {name: value.shape for name, value in values.items()} == shapes
    packed = np.concatenate([weights[f"{n}.weight"] for n in ("theta", "phi", "g")])  # (3D, C)
    np.testing.assert_array_equal(
        values["qkv.weight"].squeeze(), packed.T if inputs_first else packed
    )
    named = block._named(SPEC, block._held(SPEC, shapes), values)
    assert list(named) == list(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(named[name], value)


def test_a_bias_that_only_the_block_has_is_zero():
    spec = NonLocalSpec(6, 4, batch_norm=False)
    weights = init_weights(spec, np.random.default_rng(0), identity=False)
    values = wrapped()._values(spec, weights, SHAPES, list(SHAPES))
    assert not values["qkv.bias"].any() and values["qkv.bias"].shape == (12,)
    assert values["qkv.weight"].any()


def failure(error, parameters=PACKED, spec=SPEC, shapes=SHAPES, learned=(), **options) -> str:
    weights = init_weights(spec, np.random.default_rng(0), identity=False)
    weights = {name: value + 1 for name, value in weights.items()}
    with pytest.raises(error) as found:
        wrapped(parameters, **options)._values(spec, weights, shapes, learned)
    return str(found.value)


def test_a_parameter_that_the_block_lacks_comes_with_those_that_it_has():
    said = failure(ValueError, PACKED | {"out.weight": "proj.weight"})
    assert said == (
        "mine must have a parameter 'proj.weight', for out.weight; it has ['out.bias', "
        "'out.weight', 'qkv.bias', 'qkv.weight']"
    )


def test_a_parameter_of_another_shape_says_both_and_how_it_would_fit():
    said = failure(ValueError, shapes=SHAPES | {"out.weight": (4, 6)})
    assert said.startswith(
        "out.weight of mine must have shape (6, 4), with axes of size 1 anywhere"
    )
    assert said.endswith("received shape (4, 6), which needs inputs_first=True")
    said = failure(ValueError, shapes=SHAPES | {"qkv.weight": (12, 7)})
    assert "theta.weight and phi.weight and g.weight; received shape (12, 7)" in said


def test_a_parameter_without_a_weight_is_named():
    said = failure(ValueError, learned=("qkv.weight", "gamma"))
    assert said.startswith("mine has parameters that store no weight: ['gamma']")


def test_weights_that_only_one_side_has_are_not_supported():
    said = failure(NotImplementedError, PACKED | {"out.bias": None})
    assert said == "mine has no out.bias"
    gaussian = NonLocalSpec(6, 4, pairwise="gaussian", bias=True, batch_norm=False)
    said = failure(NotImplementedError, spec=gaussian)
    assert said == "mine has qkv.weight, and the spec has no theta.weight"


@pytest.mark.parametrize(
    "axes, shape",
    [
        ("channels_first", (2, 6, 3, 4)),
        ("channels_last", (2, 3, 4, 6)),
        ("tokens", (2, 12, 6)),
    ],
)
def test_axes_are_arranged_and_restored(axes, shape):
    x = np.arange(144.0).reshape(2, 6, 3, 4)
    block = wrapped(axes=axes)
    arranged = block._arranged(x)
    assert arranged.shape == shape
    np.testing.assert_array_equal(arranged.reshape(2, -1)[:, 0], x[:, 0, 0, 0])
    if axes != "channels_first":
        np.testing.assert_array_equal(arranged.reshape(2, 12, 6)[1, 7], x[1, :, 1, 3])
    np.testing.assert_array_equal(block._restored(arranged, x), x)
