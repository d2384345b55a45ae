"""ModuleBackend: modules of several forms against the reference, and what mistakes say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.checks.judging import attempt
from nlcore_conformance.problems.case import Case, arrays
from nlcore_torch.adapters import ModuleBackend

SPEC = NonLocalSpec(6, 4, ndim=2, bias=True)
OUT = {name: name for name in ("out.weight", "out.bias", "bn.weight", "bn.bias")}
OUT |= {name: name for name in ("bn.running_mean", "bn.running_var")}
PACKED = {
    (f"theta.{kind}", f"phi.{kind}", f"g.{kind}"): f"qkv.{kind}" for kind in ("weight", "bias")
} | OUT
EVERY = ("float32", "float64", "float16", "bfloat16")


class Packed(nn.Module):
    """The embedded Gaussian over (H, W), with one layer for theta, phi and g."""

    def __init__(self, spec, layer=nn.Conv2d, kernel=(1,)):
        super().__init__()
        self.qkv = layer(spec.channels, 3 * spec.inner_channels, *kernel)
        self.out = layer(spec.inner_channels, spec.channels, *kernel)
        self.bn = nn.BatchNorm2d(spec.channels, spec.eps)

    def forward(self, x):
        theta, phi, g = self.qkv(x).flatten(2).chunk(3, 1)  # (B, D, N)
        y = g @ (theta.mT @ phi).softmax(-1).mT
        return x + self.bn(self.out(y.unflatten(2, x.shape[2:])))


class Tokens(nn.Module):
    """The same for (B, ..., C), with matrices (inputs, outputs) of its own, and y beside z."""

    def __init__(self, spec):
        super().__init__()
        sizes = (spec.channels, spec.inner_channels)
        self.qkv = nn.ParameterDict({"weight": torch.randn(sizes[0], 3 * sizes[1])})
        self.out = nn.ParameterDict({"weight": torch.randn(*sizes[::-1])})
        self.qkv["bias"], self.out["bias"] = torch.randn(3 * sizes[1]), torch.randn(sizes[0])
        self.bn = nn.BatchNorm1d(sizes[0], spec.eps)

    def forward(self, x):
        rows = x.flatten(1, -2)  # (B, N, C)
        theta, phi, g = (rows @ self.qkv["weight"] + self.qkv["bias"]).chunk(3, -1)
        y = (theta @ phi.mT).softmax(-1) @ g
        v = self.bn((y @ self.out["weight"] + self.out["bias"]).mT).mT
        return x + v.reshape(x.shape), y


FORMS = {
    "channels first": ModuleBackend("packed", Packed, PACKED, dtypes=EVERY),
    **{
        axes: ModuleBackend(
            axes,
            Tokens,
            PACKED,
            dtypes=EVERY,
            axes=axes,
            inputs_first=True,
            output=lambda returned: returned[0],
        )
        for axes in ("channels_last", "tokens")
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("training", [False, True])
def test_values_and_gradients_are_right_in_every_form_and_dtype(form, training):
    for dtype in EVERY:
        for layout in ("contiguous", "reversed", "strided", "channels_last"):
            case = Case(SPEC, 2, (3, 4), dtype, layout=layout, training=training, seed=2)
            attempt(named_check("forward / embedded_gaussian"), FORMS[form], case)  # or it raises
        attempt(named_check("gradient / embedded_gaussian"), FORMS[form], case)


def test_without_biases_those_of_the_module_are_zero():
    bare = NonLocalSpec(6, 4, ndim=2)
    case = Case(bare, 2, (3, 4), "float32", seed=2)
    for check in ("forward / embedded_gaussian", "gradient / embedded_gaussian"):
        attempt(named_check(check), FORMS["channels first"], case)


def test_weights_in_float64_do_not_pass_through_float32():
    weights, x, _ = arrays(Case(SPEC, 2, (3, 4), "float64", seed=4))
    z = FORMS["channels first"].block(SPEC, weights, x)
    assert np.abs(z - nlcore.block(SPEC, weights, x)).max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_the_initial_state_is_that_of_a_built_module(form):
    torch.manual_seed(0)
    new = FORMS[form].initial(SPEC)
    assert {n: w.shape for n, w in new.items()} == nlcore.weight_shapes(SPEC)
    torch.manual_seed(0)
    built = (Packed if form == "channels first" else Tokens)(SPEC)
    packed = np.concatenate([new[f"{n}.weight"] for n in ("theta", "phi", "g")])  # (3D, C)
    own = built.state_dict()["qkv.weight"].numpy().squeeze()
    np.testing.assert_array_equal(packed, own if form == "channels first" else own.T)
    assert new["bn.running_var"].all() and not new["bn.running_mean"].any()


def test_absent_weights_start_at_zero():
    backend = ModuleBackend("packed", Packed, PACKED | {"out.bias": None})
    assert not backend.initial(SPEC)["out.bias"].any()


class Frozen(Packed):
    """It has a parameter of its own."""

    def __init__(self, spec, frozen=True):
        super().__init__(spec)
        self.gamma = nn.Parameter(torch.ones(1), requires_grad=not frozen)


def test_a_frozen_parameter_is_left_as_it_is_and_another_is_an_error():
    weights, x, _ = arrays(Case(SPEC, 2, (3, 4), "float32"))
    right = FORMS["channels first"].block(SPEC, weights, x)
    z = ModuleBackend("frozen", Frozen, PACKED).block(SPEC, weights, x)
    np.testing.assert_array_equal(z, right)
    backend = ModuleBackend("free", lambda spec: Frozen(spec, frozen=False), PACKED)
    with pytest.raises(ValueError, match=r"free has parameters that store no weight: \['gamma'\]"):
        backend.block(SPEC, weights, x)


def test_a_parameter_without_effect_has_gradient_zero():
    class Off(Packed):
        def forward(self, x):
            return x + 0 * self.out.weight.sum()

    weights, x, dz = arrays(Case(SPEC, 2, (3, 4), "float32"))
    dx, dweights = ModuleBackend("off", Off, PACKED).block_vjp(SPEC, weights, x, dz)
    np.testing.assert_array_equal(dx, dz)
    assert list(dweights) == [n for n in weights if "running" not in n]
    assert not any(gradient.any() for gradient in dweights.values())


def raised(error, build, parameters=PACKED, spec=SPEC, **options) -> str:
    weights, x, _ = arrays(Case(spec, 2, (3, 4), "float32"))
    with pytest.raises(error) as found:
        ModuleBackend("mine", build, parameters, **options).block(spec, weights, x)
    return str(found.value)


def test_mistakes_say_what_was_expected_and_received():
    said = raised(ValueError, Packed, PACKED | {"out.weight": "proj.weight"})
    assert said.startswith("mine must have a parameter 'proj.weight', for out.weight; it has ['bn.")
    said = raised(ValueError, Packed, inputs_first=True)
    assert "received shape (12, 6, 1, 1), which needs inputs_first=False" in said
    said = raised(TypeError, lambda spec: Packed)
    assert said == "build must return an nn.Module; received type"
    said = raised(TypeError, Tokens, axes="tokens", inputs_first=True)
    assert said.startswith("mine must return a tensor; received tuple. `output` chooses z")
    said = raised(ValueError, Packed, output=lambda z: z.flatten(2))
    assert said == (
        "mine must return shape (2, 6, 3, 4) and dtype float32, those of its input; "
        "received shape (2, 6, 12) and dtype float32"
    )
    said = raised(ValueError, Packed, output=lambda z: z.double())
    assert said.endswith("received shape (2, 6, 3, 4) and dtype float64")


def test_what_is_not_supported_is_refused_with_the_reason():
    rules = {"normalized by sum": lambda spec: spec.normalization == "sum"}
    by_count = NonLocalSpec(6, 4, ndim=2, normalization="count")
    said = raised(NotImplementedError, Packed, spec=by_count, supports=rules)
    assert said == "normalized by sum"
    said = raised(NotImplementedError, Packed, spec=NonLocalSpec(6, 4, ndim=2, batch_norm=False))
    assert said == "mine has bn.weight, and the spec has no bn.weight"
    strict = ModuleBackend("mine", Packed, PACKED, supports=rules)
    with pytest.raises(NotImplementedError, match="normalized by sum"):
        strict.initial(by_count)


def test_arguments_that_are_wrong_are_errors_before_the_module_is_built():
    weights, x, _ = arrays(Case(SPEC, 2, (3, 4), "float32"))
    backend = ModuleBackend("never", lambda spec: pytest.fail("built"), PACKED)
    with pytest.raises(ValueError, match="must have 6 channels"):
        backend.block(SPEC, weights, x[:, :5])
    with pytest.raises(ValueError, match=r"'out\.bias' is missing"):
        backend.block(SPEC, {n: w for n, w in weights.items() if n != "out.bias"}, x)


def test_it_runs_on_the_device_that_is_set():
    weights, x, _ = arrays(Case(SPEC, 2, (3, 4), "float32"))
    backend = ModuleBackend("packed", Packed, PACKED)
    assert backend.device == "cpu"
    backend.device = "meta"  # on which nothing is computed
    with pytest.raises(NotImplementedError, match="meta"):
        backend.block(SPEC, weights, x)
