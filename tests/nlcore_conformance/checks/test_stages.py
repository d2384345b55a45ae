"""The first stage that parts is the wrong one, in both directions and for every function."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore.spec import PAIRWISE
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.checks.stages import STAGES, first_stage
from nlcore_conformance.problems.case import Case


class NoBiases(Plain):
    def bias(self, call, name):
        return None if name in ("theta", "g") else super().bias(call, name)


class AveragePool(Plain):
    def pool(self, call, x):
        values, index = super().pool(call, x)
        low, _ = super().pool(call, -x)
        return (values - low) / 2, index


class Temperature(Plain):
    def logits(self, call, theta, phi):
        return super().logits(call, theta, phi) * call.work.type(0.9)


class Normalizer(Plain):
    def divided(self, call, f, c):
        return super().divided(call, f, c) * call.work.type(1.01)


class OutBias(Plain):
    def bias(self, call, name):
        return None if name == "out" else super().bias(call, name)


class Eps(Plain):
    def eps(self, call):
        return 10 * super().eps(call)


class Twice(Plain):
    def residual(self, call, v, x):
        return v + 2 * x


class DetachedNormalizer(Plain):
    def normalizer_vjp(self, call, p, dweight):
        return self.divided(call, dweight, p.c)


class FirstOfWindow(Plain):
    def pool_vjp(self, call, shape, index, d):
        return super().pool_vjp(call, shape, np.zeros_like(index), d)


class NoPaths(Plain):
    def gathered(self, call, paths):
        return super().gathered(call, paths | {"phi": 0, "theta": 0})


class NoResidualPath(Plain):
    def gathered(self, call, paths):
        return super().gathered(call, paths | {"residual": 0})


class OutGradient(Plain):
    def linear_vjp(self, call, name, x, dy):
        dx, grads = super().linear_vjp(call, name, x, dy)
        return dx, {n: g * (0.9 if n == "out.weight" else 1) for n, g in grads.items()}


class GGradient(Plain):
    def linear_vjp(self, call, name, x, dy):
        dx, grads = super().linear_vjp(call, name, x, dy)
        return dx, {n: g * (0.9 if n == "g.weight" else 1) for n, g in grads.items()}


class ConstantStatistics(Plain):
    def through_statistics(self, call, xhat, dz):
        return 0


FORWARD = {
    NoBiases: "embedding",
    AveragePool: "pooling",
    Temperature: "operation",
    Normalizer: "operation",
    OutBias: "W_z",
    Eps: "batch normalization",
    Twice: "residual",
}
GRADIENT = {
    DetachedNormalizer: "operation",
    FirstOfWindow: "pooling",
    NoPaths: "embedding",
    NoResidualPath: "residual",
    OutGradient: "W_z",
    GGradient: "embedding",
    ConstantStatistics: "batch normalization",
}


def case(pairwise: str, **changes) -> Case:
    fields = {"normalization": "sum", "ndim": 2, "subsample": (2, 2), "bias": True, "eps": 1e-3}
    spec = NonLocalSpec(6, 4, pairwise=pairwise, **fields)
    return replace(Case(spec, 2, (5, 4), "float32", seed=1), **changes)


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("wrong", FORWARD)
def test_forward(wrong, pairwise):
    check = named_check(f"forward / {pairwise}")
    normalization = "count" if wrong is Temperature else "sum"  # which a factor of f cancels in
    spec = replace(case(pairwise).spec, normalization=normalization)
    assert first_stage(check, wrong(), case(pairwise, spec=spec)) == FORWARD[wrong]


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("wrong", GRADIENT)
def test_gradient(wrong, pairwise):
    check = named_check(f"gradient / {pairwise}")
    asked = case(pairwise, training=wrong is ConstantStatistics)
    # the Gaussian has no theta and phi, whose paths are its operation's own
    own = wrong is NoPaths and pairwise == "gaussian"
    assert first_stage(check, wrong(), asked) == ("operation" if own else GRADIENT[wrong])


@pytest.mark.parametrize("values", [3, 7])
@pytest.mark.parametrize("wrong", [NoBiases, AveragePool, Temperature, Twice])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "concatenation"])
def test_forward_with_a_width_of_g_of_its_own(wrong, pairwise, values):
    fields = {"value_channels": values, "bias": "embeddings", "normalization": "count"}
    asked = case(pairwise, spec=replace(case(pairwise).spec, **fields))
    assert first_stage(named_check(f"forward / {pairwise}"), wrong(), asked) == FORWARD[wrong]
    spec = replace(asked.spec, normalization="sum")
    for gradient in (OutGradient, GGradient, NoResidualPath):
        check = named_check(f"gradient / {pairwise}")
        assert first_stage(check, gradient(), case(pairwise, spec=spec)) == GRADIENT[gradient]


class Exchanged(Plain):
    def weight(self, call, name):
        return super().weight(call, {"theta": "phi", "phi": "theta"}.get(name, name))


class PooledLate(Plain):
    def pools(self, call):
        return ("phi", "g") if call.spec.subsample else ()


class CoarseEmbeddings(Plain):
    """Their operands have eight significant bits."""

    def linear(self, call, name, x):
        if name == "out":
            return super().linear(call, name, x)
        return super().linear(call, name, x.astype(ml_dtypes.bfloat16).astype(call.work))

    def weight(self, call, name):
        w = super().weight(call, name)
        return w if name == "out" else w.astype(ml_dtypes.bfloat16).astype(call.work)


class CoarseLogits(Plain):
    def logits(self, call, theta, phi):
        short = theta.astype(ml_dtypes.bfloat16).astype(call.work)
        return super().logits(call, short, phi)


class NoBiasBeforeBatchNorm(Plain):
    def bias(self, call, name):
        return None if name == "out" and call.spec.batch_norm else super().bias(call, name)


class NormalizedSum(Plain):
    def forward(self, call, x):
        self.x = x
        return super().forward(call, x)

    def batch_norm(self, call, out):
        return super().batch_norm(call, out + self.x)

    def residual(self, call, v, x):
        return v if call.spec.batch_norm else v + x


class ZeroOverZero(Plain):
    def divided(self, call, f, c):
        return f / c


@pytest.mark.parametrize(
    "wrong, stage, changes",
    [
        (Exchanged, "embedding", {}),
        (Exchanged, "embedding", {"value_channels": 7, "bias": "embeddings"}),
        (PooledLate, "pooling", {"subsample_at": "input"}),
        (CoarseEmbeddings, "embedding", {}),
        (CoarseLogits, "operation", {}),
        (NoBiasBeforeBatchNorm, "W_z", {}),
        (NormalizedSum, "residual", {}),
        (ZeroOverZero, "operation", {"pairwise": "concatenation", "inner_channels": 1}),
    ],
)
def test_what_only_a_comparison_tells(wrong, stage, changes):
    spec = replace(case("embedded_gaussian").spec, **changes)
    asked = case(spec.pairwise, spec=spec, seed=2)  # with which some C(x) is 0
    assert first_stage(named_check(f"forward / {spec.pairwise}"), wrong(), asked) == stage


def test_an_exchange_without_a_finite_bound_explains_nothing():
    class Absolute(Plain):
        def pairwise(self, call, t):
            return abs(super().pairwise(call, t))

    fields = {"normalization": "sum", "subsample": (2,), "subsample_at": "input"}
    spec = NonLocalSpec(1, ndim=1, pairwise="dot_product", batch_norm=False, **fields)
    asked = Case(spec, 1, (7,), "float32", data="opposite", seed=3944)  # of sum 0, if exchanged
    assert first_stage(named_check("forward / dot_product"), Absolute(), asked) == "operation"


def test_the_layout_of_x_and_what_is_right_have_no_stage():
    class FromMemory(Plain):
        def rows(self, call, x):
            return super().rows(call, x.ravel("K").reshape(x.shape))

    check = named_check("memory layout")
    asked = case("gaussian", layout="channels_last")
    assert max(j.ratio for j in check.judge(FromMemory(), asked)) > 1
    assert first_stage(check, FromMemory(), asked) == ""
    assert first_stage(check, Plain(), asked) == ""


def test_an_answer_of_another_form_has_no_stage():
    class Double(Plain):
        def answer(self, call, rows):
            return super().answer(call, rows).astype(np.float64)

    class Raises(Plain):
        def residual(self, call, v, x):
            raise RuntimeError

    for wrong in (Double(), Raises()):
        assert first_stage(named_check("forward / gaussian"), wrong, case("gaussian")) == ""


def test_where_the_simpler_problems_are_not_supported_there_is_no_stage():
    spec = replace(case("dot_product").spec, normalization="count")

    class Picky(Temperature):
        def block(self, asked, weights, x, training=False):
            if asked != spec:
                raise NotImplementedError("other sizes")
            return super().block(asked, weights, x, training)

        def __getattribute__(self, name):
            if name == "supports":  # it cannot be asked
                raise AttributeError(name)
            return super().__getattribute__(name)

    check = named_check("forward / dot_product")
    assert first_stage(check, Temperature(), case("dot_product", spec=spec)) == "operation"
    assert first_stage(check, Picky(), case("dot_product", spec=spec)) == ""


def test_without_pooling_or_batch_normalization_of_their_own():
    """A backend that always has both is asked so that they change nothing."""

    class Fixed(Temperature):
        def supports(self, spec, dtype):
            return (spec.subsample == (2, 2) and spec.batch_norm) or "pooling and BN always"

    spec = replace(case("dot_product").spec, normalization="count")
    assert spec.subsample and spec.batch_norm
    check = named_check("forward / dot_product")
    assert first_stage(check, Fixed(), case("dot_product", spec=spec)) == "operation"


def test_stages_are_those_of_the_report():
    assert set(FORWARD.values()) == set(GRADIENT.values()) == set(STAGES)
