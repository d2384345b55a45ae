"""Problems to try: which specs, which shapes and dtypes, which numbers.

hypothesis draws a `Case`, a handful of small values that shrink well; the arrays follow from
the case alone, so a case is enough to replay it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import NORMALIZATIONS, SUBSAMPLE_AT

#: How x and the weights are made, see `_numbers`.
DATA = ("normal", "integers", "constant", "offset", "dominating", "cancelling", "large", "tiny")
#: How x lies in memory; the values are the same.
LAYOUTS = ("contiguous", "channels_last", "strided")

_SCALES: dict[str, Callable[[int, int], float]] = {
    "1": lambda c, d: 1.0,
    "D^-1/2": lambda c, d: d**-0.5,
    "C^-1/2": lambda c, d: c**-0.5,
    "D^1/2": lambda c, d: d**0.5,
    "other": lambda c, d: 0.7,
}


@dataclass(frozen=True)
class Case:
    """One problem, from which all its arrays follow."""

    spec: NonLocalSpec
    batch: int
    positions: tuple[int, ...]
    dtype: str
    data: str = "normal"
    layout: str = "contiguous"
    seed: int = 0
    training: bool = False

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "spec": self.spec.arguments()}

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Case:
        spec = NonLocalSpec(**fields["spec"])
        return Case(**{**fields, "spec": spec, "positions": tuple(fields["positions"])})


@dataclass(frozen=True)
class Template:
    """A spec but for its sizes: every choice of a rule, from which sizes are drawn."""

    fields: tuple[tuple[str, Any], ...]
    inner: str  # "half", "eighth" or "any"
    scale: str  # key of _SCALES
    pool: str  # "none", "paper" or "any"

    def spec(self, channels: int, inner: int, window: int, pool: int, eps: float) -> NonLocalSpec:
        """The spec with these sizes; each is used where the template leaves it open."""
        fields = dict(self.fields)
        ndim, extent = fields["ndim"], fields["extent"]
        inner = {"half": max(channels // 2, 1), "eighth": max(channels // 8, 1), "any": inner}[
            self.inner
        ]
        if fields.pop("windowed"):
            fields["window"] = window
        if self.pool != "none":
            size = 2 if self.pool == "paper" else pool
            if extent == "time":
                fields["subsample"] = (size, 1, 1)
            elif ndim == 3 and (self.pool == "paper" or extent == "space" or "window" in fields):
                fields["subsample"] = (1, size, size)
            else:
                fields["subsample"] = (size,) * ndim
        scale = _SCALES[self.scale](channels, inner)
        return NonLocalSpec(channels, inner, scale=scale, eps=eps, **fields)


def templates(pairwise: str) -> list[Template]:
    """Every combination of rules for one pairwise function, the simplest first."""
    concatenation = pairwise == "concatenation"
    places = [(1, "all", False), (2, "all", False)]
    places += [(3, extent, False) for extent in ("all", "space", "time")] + [(3, "all", True)]
    out = []
    for place, norm, scale, pool, at, bias, pair_bias, batch_norm, inner in itertools.product(
        places,
        NORMALIZATIONS,
        ("1",) if concatenation else tuple(_SCALES),
        ("none", "paper", "any"),
        SUBSAMPLE_AT,
        (False, True),
        (False, True) if concatenation else (False,),
        (False, True),
        ("half", "any", "eighth"),
    ):
        if pool == "none" and at != "embedding":
            continue
        ndim, extent, windowed = place
        fields = {
            "pairwise": pairwise,
            "normalization": norm,
            "ndim": ndim,
            "extent": extent,
            "windowed": windowed,
            "subsample_at": at,
            "bias": bias,
            "pair_bias": pair_bias,
            "batch_norm": batch_norm,
        }
        out.append(Template(tuple(fields.items()), inner, scale, pool))
    return out


def by_place(every: list[Template]) -> list[list[Template]]:
    """The templates in groups of one ndim, extent and windowing each."""
    groups: dict[tuple, list[Template]] = {}
    for template in every:
        fields = dict(template.fields)
        place = (fields["ndim"], fields["extent"], fields["windowed"])
        groups.setdefault(place, []).append(template)
    return list(groups.values())


@dataclass(frozen=True)
class Sizes:
    """How large problems get."""

    channels: int = 20
    wide: int = 512  # of C and D, with few positions
    axis: tuple[int, int, int] = (40, 9, 6)  # by ndim


def cases(
    allowed: list[Template],
    dtypes: tuple[str, ...],
    sizes: Sizes,
    training: bool = False,
    data: tuple[str, ...] = DATA,
) -> st.SearchStrategy[Case]:
    """Cases over the allowed templates and dtypes."""
    choices = _tree(allowed)

    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        template: Any = choices
        while isinstance(template, dict):
            template = template[draw(st.sampled_from(list(template)))]
        width = st.integers(1, sizes.channels) | st.sampled_from((64, 128, sizes.wide))
        channels, inner = draw(width), draw(width)
        wide = max(channels, inner) > sizes.channels
        eps = draw(st.sampled_from([1e-5, 1e-5, 1e-3]))
        spec = template.spec(channels, inner, draw(st.integers(1, 3)), draw(st.integers(2, 3)), eps)
        largest = 4 if wide else sizes.axis[spec.ndim - 1]
        positions = [draw(st.integers(p, max(p, largest))) for p in spec.pool]
        if spec.window is not None:
            positions[0] = spec.window * draw(st.integers(1, 3))
        return Case(
            spec=spec,
            # batch statistics of a single value are left out: frameworks may refuse them
            batch=draw(st.integers(2 if training else 1, 3)),
            positions=tuple(positions),
            dtype=draw(st.sampled_from(dtypes)),
            data=draw(st.sampled_from(data)),
            layout=draw(st.sampled_from(LAYOUTS)),
            seed=draw(st.integers(0, 2**16)),
            training=training,
        )

    return draw_case()


def _tree(allowed: list[Template]) -> dict[Any, Any]:
    """The templates told apart by one choice a level, so that each choice is drawn evenly."""
    root: dict[Any, Any] = {}
    for template in allowed:
        node = root
        for _, value in (*template.fields, ("pool", template.pool), ("scale", template.scale)):
            node = node.setdefault(value, {})
        node[template.inner] = template
    return root


def arrays(case: Case) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The case's weights, x (B, C, *positions) and dz, in the case's dtype."""
    rng = np.random.default_rng(case.seed)
    dtype = _dtype(case.dtype)
    made, x = _tamed(case, *_kept_from_zero(case, _weights(case, rng), _numbers(case, rng), rng))
    weights, x = {n: v.astype(dtype) for n, v in made.items()}, x.astype(dtype)
    dz = rng.normal(size=x.shape).astype(dtype)
    return weights, _laid_out(x, case.layout), dz


def _dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _weights(case: Case, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights of the size that keeps each stage near 1, none of them at a special value."""
    spec, out = case.spec, {}
    for name, shape in weight_shapes(spec).items():
        if name == "bn.running_var":
            out[name] = rng.uniform(0.25, 2.0, shape)
        elif name == "bn.weight":
            out[name] = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
        elif name.endswith("bias") or name == "bn.running_mean":
            out[name] = 0.5 * rng.normal(size=shape)
        else:
            out[name] = rng.normal(size=shape) / math.sqrt(shape[-1])
    return out


def _kept_from_zero(
    case: Case, weights: dict[str, np.ndarray], x: np.ndarray, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """For a dot product normalized by its sum: theta like phi, x about a mean, so C is not near 0.

    Data whose point is ties, or cancellation, stays as it is.
    """
    spec = case.spec
    by_sum = spec.pairwise == "dot_product" and spec.normalization == "sum"
    if not by_sum or case.data in ("integers", "constant", "cancelling"):
        return weights, x
    alike = {
        f"theta.{part}": weights[f"phi.{part}"] + 0.25 * weights[f"theta.{part}"]
        for part in ("weight", "bias")
        if f"theta.{part}" in weights
    }
    sign = rng.choice([-1.0, 1.0], (1, x.shape[1], *[1] * len(case.positions)))
    return weights | alike, x + 1.5 * np.abs(x).mean() * sign


#: Largest logit, largest with "large" data, and largest sum of a logit's absolute terms.
_LOGITS = {"bfloat16": (4.0, 16.0, 16.0), "float16": (6.0, 60.0, 64.0)}


def _tamed(
    case: Case, weights: dict[str, np.ndarray], x: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scale theta, or the Gaussian's x, so that no product is above 6, or with "large" data 60.

    Less in half precision, where a logit's own rounding would be as large as it is. Under "count"
    nothing divides by the sum of the f, which must stay in the dtype's range.
    """
    spec = case.spec
    if spec.pairwise == "concatenation":
        return weights, x
    plain, large, cap = _LOGITS.get(case.dtype, (6.0, 60.0, np.inf))
    limit = large if case.data == "large" else plain
    if spec.normalization == "count" and case.dtype == "float16":
        limit = plain  # exp(11) overflows
    rows = x.reshape(case.batch, spec.channels, -1)  # (B, C, N)
    theta, phi = rows, rows
    if spec.embedded:
        bias = {n: weights.get(f"{n}.bias", np.zeros(1))[:, None] for n in ("theta", "phi")}
        theta = weights["theta.weight"] @ rows + bias["theta"]  # (B, D, N)
        phi = weights["phi.weight"] @ rows + bias["phi"]  # (B, D, N)
    theta = abs(spec.scale) * theta.swapaxes(1, 2)  # (B, N, D)
    largest = float(np.abs(theta @ phi).max())
    terms = float((np.abs(theta) @ np.abs(phi)).max())
    factor = min(limit / max(largest, 1e-6), cap / max(terms, 1e-6))
    if factor >= 1 and case.data != "large":
        return weights, x
    if not spec.embedded:
        return weights, x * math.sqrt(factor)
    scaled = {n: v * factor for n, v in weights.items() if n.startswith("theta.")}
    return weights | scaled, x


def _numbers(case: Case, rng: np.random.Generator) -> np.ndarray:
    """x (B, C, *positions) in float64.

    normal: N(0, 1). integers: -2..2, with ties and zeros. constant: one vector everywhere.
    offset: N(0, 1) about a large mean in each channel. dominating: one position 8 times larger.
    cancelling: positions in pairs that nearly cancel. large: N(0, 1), with logits up to 60 (see
    `_tamed`). tiny: N(0, 1) / 4096. The last three are milder in half precision.
    """
    shape = (case.batch, case.spec.channels, *case.positions)
    x = rng.normal(size=shape)
    if case.data == "integers":
        return rng.integers(-2, 3, shape).astype(np.float64)
    if case.data == "constant":
        return np.broadcast_to(rng.normal(size=(1, shape[1], *[1] * len(case.positions))), shape)
    if case.data == "offset":
        size = 8 if case.dtype in ("float16", "bfloat16") else 64
        return x + size * rng.normal(size=(1, shape[1], *[1] * len(case.positions)))
    if case.data == "dominating":
        chosen = tuple(int(rng.integers(n)) for n in case.positions)
        np.moveaxis(x, (0, 1), (-2, -1))[chosen] *= 8
    elif case.data == "cancelling":
        flat = x.reshape(*shape[:2], -1)
        half = flat.shape[-1] // 2
        flat[..., half : 2 * half] = -flat[..., :half] * (1 + 1e-3 * x.flat[0])
    elif case.data == "tiny":
        x /= 64 if case.dtype == "float16" else 4096  # whose square float16 does not have
    return x


def _laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "channels_last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "strided":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    return x
