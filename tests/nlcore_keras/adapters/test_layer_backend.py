"""LayerBackend: layers of several forms against the reference, and what mistakes say."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.checks.judging import attempt
from nlcore_conformance.problems.case import Case, arrays
from nlcore_keras.adapters import LayerBackend
from nlcore_keras.adapters.layer_backend import variables

SPEC = NonLocalSpec(6, 4, ndim=2, bias=True)
BN = {"bn.weight": "bn.gamma", "bn.bias": "bn.beta"}
BN |= {"bn.running_mean": "bn.moving_mean", "bn.running_var": "bn.moving_variance"}
PACKED = {
    (f"theta.{kind}", f"phi.{kind}", f"g.{kind}"): f"qkv.{own}"
    for kind, own in (("weight", "kernel"), ("bias", "bias"))
} | {"out.weight": "out.kernel", "out.bias": "out.bias", **BN}
PARTS = {
    f"{name}.{kind}": f"parts.{n}.{own}"
    for n, name in enumerate(("theta", "phi", "g", "out"))
    for kind, own in (("weight", "kernel"), ("bias", "bias"))
} | BN
OWN = PARTS | {"out.weight": "w_out", "out.bias": "b_out"}


def attended(theta, phi, g):
    """y (B, N, D)."""
    t = theta @ ops.swapaxes(phi, 1, 2)  # (B, N, N)
    f = ops.exp(t - ops.max(t, axis=-1, keepdims=True))
    return (f / ops.sum(f, axis=-1, keepdims=True)) @ g


class Packed(layers.Layer):
    """The embedded Gaussian over (H, W), with one layer for theta, phi and g."""

    def __init__(self, spec):
        super().__init__()
        self.qkv = layers.Dense(3 * spec.inner_channels)
        self.out = layers.Dense(spec.channels)
        self.bn = layers.BatchNormalization(epsilon=spec.eps, gamma_initializer="zeros")
        self.drop = layers.Dropout(0.0)  # its state is not a weight

    def call(self, x, training=None):
        rows = ops.reshape(self.qkv(x), (x.shape[0], -1, self.qkv.units))
        y = self.drop(attended(*ops.split(rows, 3, axis=-1)))
        v = self.out(ops.reshape(y, (*x.shape[:-1], -1)))
        return x + self.bn(v, training=training)


class Tokens(layers.Layer):
    """The same for (B, N, C), of convolutions in a list and variables of its own; y beside z."""

    def __init__(self, spec):
        super().__init__()
        self.parts = [layers.Conv1D(spec.inner_channels, 1) for _ in range(3)]
        self.bn = layers.BatchNormalization(epsilon=spec.eps)
        self.w_out = self.add_weight(
            shape=(spec.inner_channels, spec.channels), initializer="zeros", name="w_out"
        )
        self.b_out = self.add_weight(shape=(spec.channels,), name="b_out")

    def call(self, x):
        y = attended(*(part(x) for part in self.parts))
        return x + self.bn(y @ self.w_out + self.b_out), y


def tokens(**options):
    return LayerBackend(
        "tokens", Tokens, OWN, axes="tokens", output=lambda returned: returned[0], **options
    )


FORMS = {"packed": LayerBackend("packed", Packed, PACKED), "tokens": tokens()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("training", [False, True])
def test_values_and_gradients_are_right_on_each_engine(form, training):
    for layout in ("contiguous", "reversed"):
        case = Case(SPEC, 2, (3, 4), "float32", layout=layout, training=training, seed=2)
        attempt(named_check("forward / embedded_gaussian"), FORMS[form], case)  # or it raises
    attempt(named_check("gradient / embedded_gaussian"), FORMS[form], case)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_dtypes(dtype):
    if dtype == "float64" and keras.backend.backend() != "tensorflow":
        pytest.skip("there Keras rounds float64 to float32")
    backend = tokens(dtypes=(dtype,))
    before = keras.config.dtype_policy().name
    case = Case(SPEC, 2, (3, 4), dtype, seed=2)
    for check in ("forward / embedded_gaussian", "gradient / embedded_gaussian"):
        attempt(named_check(check), backend, case)
    assert keras.config.dtype_policy().name == before


def test_a_built_layer_of_channels_first_is_taken_too(problem, assert_close):
    from nlcore_keras import NonLocalBlock

    spec = NonLocalSpec(6, ndim=2, batch_norm=False)
    names = ("theta.weight", "phi.weight", "g.weight", "out.weight")
    backend = LayerBackend(
        "ours",
        lambda spec: NonLocalBlock.from_spec(spec, data_format="channels_first"),
        {name: name.replace(".", "_") for name in names},
        axes="channels_first",
        inputs_first=False,
    )
    weights, x, _ = problem(spec, (3, 4), "float32")
    assert_close(backend.block(spec, weights, x), nlcore.block(spec, weights, x), "float32")


def test_variables_are_named_by_the_attributes_that_lead_to_them_on_each_engine():
    layer = Packed(SPEC)
    layer(np.zeros((1, 2, 2, 6), np.float32))
    assert set(variables(layer)) == set(PACKED.values())
    layer = Tokens(SPEC)
    layer(np.zeros((1, 2, 6), np.float32))
    own = {f"parts.{n}.{kind}" for n in range(3) for kind in ("kernel", "bias")}
    assert set(variables(layer)) == own | {"w_out", "b_out", *BN.values()}
    model = keras.Sequential([layers.Input((3,)), layers.Dense(2, name="first")])
    assert set(variables(model)) == {"first.kernel", "first.bias"}


def test_variables_of_one_name_are_told_apart():
    class Twice(layers.Layer):
        def __init__(self):
            super().__init__(name="twice")
            self.each = {"a": self.add_weight(shape=(1,), name="w")}
            self.other = self.add_weight(shape=(2,), name="w")

    assert len(variables(Twice())) == 2


def test_the_initial_state_is_that_of_a_built_layer_on_each_engine():
    new = FORMS["packed"].initial(SPEC)
    assert {n: w.shape for n, w in new.items()} == nlcore.weight_shapes(SPEC)
    assert not new["bn.weight"].any() and new["bn.running_var"].all()
    assert new["theta.weight"].std() > 0 and not new["theta.bias"].any()
    new = tokens(init="he").initial(SPEC)
    assert new["bn.weight"].all() and not new["out.weight"].any()


def raised(error, build, parameters=PACKED, method="block", spec=SPEC, **options) -> str:
    weights, x, dz = arrays(Case(spec, 2, (3, 4), "float32"))
    backend = LayerBackend("mine", build, parameters, **options)
    with pytest.raises(error) as found:
        if method == "block":
            backend.block(spec, weights, x)
        else:
            backend.block_vjp(spec, weights, x, dz)
    return str(found.value)


def test_mistakes_say_what_was_expected_and_received_on_each_engine():
    said = raised(ValueError, Packed, PACKED | {"out.weight": "proj.kernel"})
    assert said.startswith("mine must have a parameter 'proj.kernel', for out.weight; it has ['bn.")
    said = raised(ValueError, Packed, inputs_first=False)
    assert "received shape (6, 12), which needs inputs_first=True" in said
    said = raised(TypeError, lambda spec: Packed)
    assert said == "build must return a layer; received type"
    said = raised(TypeError, Tokens, OWN, axes="tokens")
    assert said.startswith("mine must return a tensor; received tuple. `output` chooses z")
    said = raised(ValueError, Packed, output=lambda z: ops.reshape(z, (2, 12, 6)))
    assert said == (
        "mine must return shape (2, 3, 4, 6) and dtype float32, those of its input; "
        "received shape (2, 12, 6) and dtype float32"
    )
    said = raised(ValueError, Packed, output=lambda z: ops.cast(z, "float16"))
    assert said.endswith("received shape (2, 3, 4, 6) and dtype float16")


class Extra(Packed):
    """It has a variable of its own."""

    def __init__(self, spec, trainable):
        super().__init__(spec)
        self.gamma = self.add_weight(shape=(1,), name="gamma", trainable=trainable)


def test_a_frozen_variable_is_left_as_it_is_and_another_is_an_error():
    weights, x, _ = arrays(Case(SPEC, 2, (3, 4), "float32"))
    z = LayerBackend("extra", lambda spec: Extra(spec, False), PACKED).block(SPEC, weights, x)
    np.testing.assert_array_equal(z, FORMS["packed"].block(SPEC, weights, x))
    said = raised(ValueError, lambda spec: Extra(spec, True))
    assert said.startswith("mine has parameters that store no weight: ['gamma']")


def test_a_frozen_weight_has_no_gradient():
    def frozen(spec):
        layer = Packed(spec)
        layer.bn.trainable = False
        return layer

    said = raised(ValueError, frozen, method="block_vjp")
    assert said == "mine must have trainable variables; ['bn.gamma', 'bn.beta'] are not"


def test_what_is_not_supported_is_refused_with_the_reason():
    rules = {"normalized by sum": lambda spec: spec.normalization == "sum"}
    by_count = NonLocalSpec(6, 4, ndim=2, normalization="count")
    assert raised(NotImplementedError, Packed, spec=by_count, supports=rules) == "normalized by sum"
    backend = LayerBackend("mine", Packed, PACKED, supports=rules)
    with pytest.raises(NotImplementedError, match="normalized by sum"):
        backend.initial(by_count)
