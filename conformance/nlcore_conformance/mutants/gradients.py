"""NL-9 got wrong, the forward direction being right."""

from __future__ import annotations

import math

import numpy as np

from nlcore import NonLocalSpec
from nlcore.reference.pooling import from_windows, windows
from nlcore.spec import FLOATS, PAIRWISE
from nlcore_conformance.mutants.mutant import Zoo, by_sum
from nlcore_conformance.backend.plain import Call, Grads, Pairs, Plain, Stages, flat
from nlcore_conformance.backend.protocol import Weights

ZOO = Zoo()


class _Detached(Plain):
    """C(x) is taken for a constant where the pairwise function is this."""

    of: str

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        if by_sum(call) and call.spec.pairwise == self.of:
            return self.divided(call, dweight, p.c)
        return super().normalizer_vjp(call, p, dweight)


for _pairwise in PAIRWISE:
    ZOO.wrong(
        f"normalizer detached, {_pairwise}",
        "NL-9.1",
        "operation",
        rule=f"The gradient takes the sum C(x) of the {_pairwise} for a constant.",
    )(type("_DetachedOne", (_Detached,), {"of": _pairwise}))


@ZOO.wrong("softmax's mean unweighted", "NL-9.1", "operation")
class _Unweighted(Plain):
    """What a softmax's gradient subtracts is a mean, not a weighted mean."""

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        if not by_sum(call):
            return super().normalizer_vjp(call, p, dweight)
        return self.divided(call, dweight - dweight.mean(-1, keepdims=True), p.c)


@ZOO.wrong("gradient by N before pooling", "NL-9.1", "operation")
class _CountUnpooled(Plain):
    """The gradient divides by the number of positions i, not j."""

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        if by_sum(call):
            return super().normalizer_vjp(call, p, dweight)
        return dweight / call.work.type(p.t.shape[1])


@ZOO.wrong("gradient at C = 0", "NL-9.5", "operation")
class _ThroughZero(Plain):
    """Where C(x) is 0, the gradient goes through as though it were 1."""

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        right = super().normalizer_vjp(call, p, dweight)
        return np.where(p.c == 0, dweight, right)


@ZOO.wrong("gradient NaN at C = 0", "NL-9.5", "operation")
class _NaNAtZero(Plain):
    """Where C(x) is 0, the gradient is NaN."""

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        right = super().normalizer_vjp(call, p, dweight)
        return np.where(p.c == 0, np.nan, right).astype(call.work)


@ZOO.wrong("exp has slope 1", "NL-9.1", "operation")
class _ExpSlope(Plain):
    """df/dt is 1 for the two Gaussians."""

    def slope(self, call: Call, p: Pairs) -> np.ndarray | float:
        return 1.0 if "gaussian" in call.spec.pairwise else super().slope(call, p)


class _Step(Plain):
    """Another derivative of the ReLU."""

    def step(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def slope(self, call: Call, p: Pairs) -> np.ndarray | float:
        if call.spec.pairwise != "concatenation":
            return super().slope(call, p)
        return self.step(p.t).astype(call.work)


@ZOO.wrong("ReLU'(0) = 1", "NL-9.3", "operation")
class _StepOne(_Step):
    """The ReLU's derivative at 0 is 1."""

    def step(self, t: np.ndarray) -> np.ndarray:
        return t >= 0


@ZOO.wrong("ReLU'(0) = 1/2", "NL-9.3", "operation")
class _StepHalf(_Step):
    """The ReLU's derivative at 0 is 1/2."""

    def step(self, t: np.ndarray) -> np.ndarray:
        return np.heaviside(t, 0.5)


@ZOO.wrong("ReLU' is 1", "NL-9.1", "operation")
class _StepNever(_Step):
    """The gradient goes through the ReLU everywhere."""

    def step(self, t: np.ndarray) -> np.ndarray:
        return np.ones_like(t)


@ZOO.wrong("f for f / C in g's gradient", "NL-9.1", "operation")
class _UnnormalizedG(Plain):
    """g's gradient leaves out the division by C(x)."""

    def operation_vjp(
        self, call: Call, s: Stages, dy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Grads]:
        dtheta, dphi, _, grads = super().operation_vjp(call, s, dy)
        return dtheta, dphi, self.product(call, s.pairs.f.swapaxes(1, 2), dy), grads


class _LogitsVjp(Plain):
    """dtheta and dphi, otherwise."""

    def alter(
        self, call: Call, dtheta: np.ndarray, dphi: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def logits_vjp(
        self, call: Call, s: Stages, dt: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Grads]:
        dtheta, dphi, grads = super().logits_vjp(call, s, dt)
        return *self.alter(call, dtheta, dphi), grads


@ZOO.wrong("dtheta and dphi change places", "NL-9.1", "operation")
class _Exchanged(_LogitsVjp):
    """The gradients of theta and phi change places where they have one shape."""

    def alter(
        self, call: Call, dtheta: np.ndarray, dphi: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return (dphi, dtheta) if dtheta.shape == dphi.shape else (dtheta, dphi)


@ZOO.wrong("gradient without scale", "NL-9.1", "operation")
class _Unscaled(_LogitsVjp):
    """The scale is missing from the gradient."""

    def alter(
        self, call: Call, dtheta: np.ndarray, dphi: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        s = call.work.type(call.spec.scale)
        return dtheta / s, dphi / s


@ZOO.wrong("scale twice in dphi", "NL-9.1", "operation")
class _ScaledTwice(_LogitsVjp):
    """phi's gradient has the scale twice."""

    def alter(
        self, call: Call, dtheta: np.ndarray, dphi: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return dtheta, dphi * call.work.type(call.spec.scale)


class _Altered(Plain):
    """Some weights' gradients, otherwise."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        raise NotImplementedError

    def backward(self, call: Call, s: Stages, dz: np.ndarray) -> tuple[np.ndarray, Grads]:
        dx, grads = super().backward(call, s, dz)
        return dx, grads | self.alter(call, grads)


@ZOO.wrong("halves of w_f's gradient", "NL-9.1", "operation")
class _GradHalves(_Altered):
    """The halves of w_f's gradient change places."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        if "f.weight" not in grads:
            return {}
        return {"f.weight": np.roll(grads["f.weight"], call.spec.inner_channels)}


@ZOO.wrong("no gradient of b_f", "NL-9.1", "operation")
class _NoPairBias(_Altered):
    """b_f is not trained."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        return {"f.bias": np.zeros_like(grads["f.bias"])} if "f.bias" in grads else {}


@ZOO.wrong("no gradient of W_z", "NL-9.1", "W_z")
class _NoOut(_Altered):
    """W_z is never updated."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        return {"out.weight": np.zeros_like(grads["out.weight"])}


@ZOO.wrong("bias gradients averaged", "NL-9.1", "embedding")
class _MeanBias(_Altered):
    """The gradients of biases are means over the positions."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        rows = call.work.type(math.prod(call.shape[:-1]))
        layers = ("theta.bias", "phi.bias", "g.bias", "out.bias")
        return {name: grads[name] / rows for name in layers if name in grads}


@ZOO.wrong("gradients averaged over the batch", "NL-9.1", "embedding")
class _MeanBatch(_Altered):
    """The gradients of weights are means over the items of the batch."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        return {name: grad / call.work.type(call.shape[0]) for name, grad in grads.items()}


@ZOO.wrong("gradient of a square weight transposed", "NL-9.1", "embedding")
class _Transposed(_Altered):
    """W_g's gradient is transposed where D is C."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        grad = grads["g.weight"]
        return {"g.weight": grad.T} if grad.shape[0] == grad.shape[1] else {}


class _FirstRows(Plain):
    """A weight's gradient comes of the first so many rows of (B', N, C)."""

    def kept(self, call: Call, items: int) -> int:
        raise NotImplementedError

    def linear_vjp(
        self, call: Call, name: str, x: np.ndarray, dy: np.ndarray
    ) -> tuple[np.ndarray, Grads]:
        dx, _ = super().linear_vjp(call, name, x, dy)
        kept = self.kept(call, len(x))
        return dx, super().linear_vjp(call, name, x[:kept], dy[:kept])[1]


@ZOO.wrong("gradient of the first item", "NL-9.1", "embedding")
class _FirstItem(_FirstRows):
    """The gradients of weights leave the later items of the batch out."""

    def kept(self, call: Call, items: int) -> int:
        return items // call.shape[0]


@ZOO.wrong("gradient of the first pixel", "NL-9.1", "embedding")
class _FirstPixel(_FirstRows):
    """With extent time the gradients of weights come of each item's first pixels only."""

    def kept(self, call: Call, items: int) -> int:
        return items if call.spec.extent != "time" else (items + 1) // 2


@ZOO.wrong("gradient of the first window", "NL-9.1", "embedding")
class _FirstWindow(_FirstRows):
    """With temporal windows the gradients of weights leave the last one out."""

    def kept(self, call: Call, items: int) -> int:
        return items - 1 if call.spec.window and items > 1 else items


class _Paths(Plain):
    """dx lacks one of its paths."""

    without: str

    def gathered(self, call: Call, paths: dict[str, np.ndarray]) -> np.ndarray:
        return super().gathered(call, paths | {self.without: np.zeros_like(paths["g"])})


for _path in ("theta", "phi", "g", "residual"):
    ZOO.wrong(
        f"dx without {_path}",
        "NL-9.1",
        "residual" if _path == "residual" else "embedding",
        rule=f"The gradient of x leaves out what comes through {_path}.",
    )(type("_PathsOne", (_Paths,), {"without": _path}))


@ZOO.wrong("Gaussian's x used once", "NL-2.2", "operation")
class _GaussianOnce(Plain):
    """The gradient of the Gaussian's products leaves one of the two x out."""

    def gathered(self, call: Call, paths: dict[str, np.ndarray]) -> np.ndarray:
        once = {} if call.spec.embedded else {"phi": np.zeros_like(paths["g"])}
        return super().gathered(call, paths | once)


class _Leak(Plain):
    """The keys' gradient is spread over this axis of (B, *positions, C)."""

    axis: int

    def applies(self, call: Call) -> bool:
        raise NotImplementedError

    def gathered(self, call: Call, paths: dict[str, np.ndarray]) -> np.ndarray:
        if self.applies(call):
            spread = {
                n: paths[n] * 0 + paths[n].mean(self.axis, keepdims=True) for n in ("phi", "g")
            }
            paths = paths | spread
        return super().gathered(call, paths)


@ZOO.wrong("gradient leaks across frames", "NL-9.1", "operation")
class _LeakFrames(_Leak):
    """With extent space the keys' gradient is spread over the frames."""

    axis = 1

    def applies(self, call: Call) -> bool:
        return call.spec.extent == "space"


@ZOO.wrong("gradient leaks across pixels", "NL-9.1", "operation")
class _LeakPixels(_Leak):
    """With extent time the keys' gradient is spread over the pixels of a row."""

    axis = 3

    def applies(self, call: Call) -> bool:
        return call.spec.extent == "time"


@ZOO.wrong("gradient leaks across windows", "NL-9.1", "operation")
class _LeakWindows(_Leak):
    """With temporal windows the keys' gradient is spread over all frames."""

    axis = 1

    def applies(self, call: Call) -> bool:
        return call.spec.window is not None


@ZOO.wrong("gradient leaks across the batch", "NL-1.6", "operation")
class _LeakBatch(_Leak):
    """The keys' gradient is spread over the items of the batch."""

    axis = 0

    def applies(self, call: Call) -> bool:
        return True


class _Places(Plain):
    """A maximum's gradient goes to other places of its window, where x itself is pooled."""

    def shares(self, split: np.ndarray) -> np.ndarray:
        """What each of a window's values (..., W, D) gets."""
        raise NotImplementedError

    def unpooled(
        self, call: Call, name: str, s: Stages, d: np.ndarray, like: np.ndarray
    ) -> np.ndarray:
        of_x = name == "keys" or (name == "phi" and not call.spec.embedded)
        if name not in s.index or not of_x:
            return super().unpooled(call, name, s, d, like)
        split = windows(s.folded, call.spec.pool)  # (B', *pooled, W, C)
        d = d.reshape(*split.shape[:-2], 1, d.shape[-1])
        whole = from_windows(self.shares(split) * d, s.folded.shape, call.spec.pool)
        return flat(whole.astype(call.work))


@ZOO.wrong("gradient to the last of equals", "NL-9.4", "pooling")
class _LastOfEquals(_Places):
    """Of equal maxima the last gets the gradient."""

    def shares(self, split: np.ndarray) -> np.ndarray:
        last = split.shape[-2] - 1 - split[..., ::-1, :].argmax(-2)
        return np.arange(split.shape[-2])[:, None] == last[..., None, :]


@ZOO.wrong("gradient shared by equals", "NL-9.4", "pooling")
class _SharedByEquals(_Places):
    """Equal maxima share the gradient."""

    def shares(self, split: np.ndarray) -> np.ndarray:
        equal = split == split.max(-2, keepdims=True)
        return equal / equal.sum(-2, keepdims=True)


@ZOO.wrong("gradient to all equals", "NL-9.4", "pooling")
class _ToAllEquals(_Places):
    """Equal maxima get the whole gradient each."""

    def shares(self, split: np.ndarray) -> np.ndarray:
        return split == split.max(-2, keepdims=True)


@ZOO.wrong("gradient to the first of a window", "NL-9.4", "pooling")
class _FirstOfWindow(Plain):
    """The first position of a window gets the gradient, wherever the maximum stood."""

    def pool_vjp(
        self, call: Call, shape: tuple[int, ...], index: np.ndarray, d: np.ndarray
    ) -> np.ndarray:
        return super().pool_vjp(call, shape, index * 0, d)


@ZOO.wrong("gradient to the whole window", "NL-9.4", "pooling")
class _WholeWindow(Plain):
    """All the positions of a window share the gradient."""

    def pool_vjp(
        self, call: Call, shape: tuple[int, ...], index: np.ndarray, d: np.ndarray
    ) -> np.ndarray:
        size, whole = math.prod(call.spec.pool), np.zeros(shape, call.work)
        for k in range(size):
            whole += super().pool_vjp(call, shape, index * 0 + k, d / size)
        return whole


@ZOO.wrong("gradient of dropped positions", "NL-9.4", "pooling")
class _Dropped(Plain):
    """Positions that pooling drops get the gradient of their neighbours."""

    def pool_vjp(
        self, call: Call, shape: tuple[int, ...], index: np.ndarray, d: np.ndarray
    ) -> np.ndarray:
        whole = super().pool_vjp(call, shape, index, d)
        kept = [n - n % w for n, w in zip(shape[1:-1], call.spec.pool, strict=True)]
        ends = [(0, n - k) for n, k in zip(shape[1:-1], kept, strict=True)]
        inside = whole[:, *(slice(k) for k in kept)]
        return np.pad(inside, [(0, 0), *ends, (0, 0)], mode="edge")


class _Through(Plain):
    """Another gradient through the batch's mean and variance."""

    def terms(self, call: Call, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def through_statistics(self, call: Call, xhat: np.ndarray, dz: np.ndarray) -> np.ndarray:
        return self.terms(call, self.mean(call, dz), xhat * self.mean(call, dz * xhat))


@ZOO.wrong("no gradient through the mean", "NL-9.2", "batch normalization")
class _NoMean(_Through):
    """The batch's mean is taken for a constant."""

    def terms(self, call: Call, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return variance


@ZOO.wrong("no gradient through the variance", "NL-9.2", "batch normalization")
class _NoVariance(_Through):
    """The batch's variance is taken for a constant."""

    def terms(self, call: Call, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return mean


@ZOO.wrong("no gradient through statistics", "NL-9.2", "batch normalization")
class _NoStatistics(_Through):
    """The batch's mean and variance are taken for constants, as running ones are."""

    def terms(self, call: Call, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return np.zeros_like(variance)


@ZOO.wrong("gradient of the unbiased variance", "NL-9.2", "batch normalization")
class _UnbiasedThrough(_Through):
    """The variance's term is divided by n - 1."""

    def terms(self, call: Call, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        n = math.prod(call.shape[:-1])
        return mean + variance * call.work.type(n / max(n - 1, 1))


@ZOO.wrong("statistics' gradient in inference", "NL-9.1", "batch normalization")
class _AlwaysThrough(Plain):
    """The gradient goes through mean and variance in inference too, where they are constants."""

    def batch_norm_vjp(self, call: Call, s: Stages, dz: np.ndarray) -> tuple[np.ndarray, Grads]:
        if not call.training:
            assert s.xhat is not None
            _, grads = super().batch_norm_vjp(call, s, dz)
            dz = dz - self.through_statistics(call, s.xhat, dz)
            return super().batch_norm_vjp(call, s, dz)[0], grads
        return super().batch_norm_vjp(call, s, dz)


class _BatchNormGrads(Plain):
    def alter(self, call: Call, s: Stages, dz: np.ndarray, grads: Grads) -> Grads:
        raise NotImplementedError

    def batch_norm_vjp(self, call: Call, s: Stages, dz: np.ndarray) -> tuple[np.ndarray, Grads]:
        dout, grads = super().batch_norm_vjp(call, s, dz)
        return dout, grads | self.alter(call, s, dz, grads)


@ZOO.wrong("BN's weight: gradient by W_z y", "NL-9.1", "batch normalization")
class _NotCentred(_BatchNormGrads):
    """The gradient of BN's weight multiplies with W_z y, not with what is normalized."""

    def alter(self, call: Call, s: Stages, dz: np.ndarray, grads: Grads) -> Grads:
        return {"bn.weight": (dz * s.out).sum(tuple(range(dz.ndim - 1)))}


@ZOO.wrong("BN's bias: gradient averaged", "NL-9.1", "batch normalization")
class _MeanShift(_BatchNormGrads):
    """The gradient of BN's bias is a mean."""

    def alter(self, call: Call, s: Stages, dz: np.ndarray, grads: Grads) -> Grads:
        return {"bn.bias": grads["bn.bias"] / call.work.type(dz[..., 0].size)}


class _Answer(Plain):
    """Another answer of block_vjp."""

    def answer_vjp(self, dx: np.ndarray, grads: Grads) -> tuple[np.ndarray, Grads]:
        raise NotImplementedError

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, Grads]:
        return self.answer_vjp(*super().block_vjp(spec, weights, x, dz, training))


@ZOO.wrong("gradients pile up", "NL-9.1", "")
class _PileUp(_Answer):
    """Gradients are added to those of the call before, where these have the same shapes."""

    def __init__(self, dtypes: tuple[str, ...] | None = None) -> None:
        super().__init__(dtypes)
        self.before: Grads = {}

    def answer_vjp(self, dx: np.ndarray, grads: Grads) -> tuple[np.ndarray, Grads]:
        shapes = {name: grad.shape for name, grad in grads.items()}
        if shapes == {name: grad.shape for name, grad in self.before.items()}:
            grads = {
                name: (grad + self.before[name].astype(grad.dtype)).astype(grad.dtype)
                for name, grad in grads.items()
            }
        self.before = grads
        return dx, grads


@ZOO.wrong("gradients in float64", "NL-1.4", "", ("float32", "float16", "bfloat16"))
class _Float64(_Answer):
    """Gradients come in float64, whatever was asked for."""

    def answer_vjp(self, dx: np.ndarray, grads: Grads) -> tuple[np.ndarray, Grads]:
        return dx.astype(np.float64), {n: g.astype(np.float64) for n, g in grads.items()}


@ZOO.wrong("gradients of running statistics", "NL-9.1", "batch normalization", FLOATS)
class _OfRunning(Plain):
    """The running statistics have gradients too."""

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, Grads]:
        dx, grads = super().block_vjp(spec, weights, x, dz, training)
        more = {n: np.zeros_like(w) for n, w in weights.items() if n.startswith("bn.running")}
        return dx, grads | more
