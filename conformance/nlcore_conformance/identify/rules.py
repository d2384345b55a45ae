"""The rules of a block: how each is read in a spec, and the specs that differ in it alone."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from nlcore import NonLocalSpec
from nlcore.dialects import POOLS
from nlcore.spec import AXES, BIASES, NORMALIZATIONS, PAIRWISE, SUBSAMPLE_AT
from nlcore_conformance.problems.templates import EPS, INNER, SCALES, VALUE

#: Pooling windows by number of axes.
_WINDOWS: dict[int, list[tuple[int, ...]]] = {
    1: [(2,)],
    2: [(2, 2), (2, 1)],
    3: [(1, 2, 2), (2, 2, 2), (2, 1, 1)],
}
#: Frames of a temporal window. The problems' numbers of frames are multiples of it.
_FRAMES = 3
#: A scale that no source has.
_OTHER_SCALE = 0.7

Changes = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """One rule of the block.

    Attributes
    ----------
    name : str
        The rule in words.
    field : str
        The field of the spec.
    values : callable
        Its values in a spec, in words. A scale may have several: at D = 1, D^-1/2 is 1.
    others : callable
        The changes that give a spec each other value.
    matters : callable
        Whether the rule has a meaning in a spec.
    without : str
        Why it may have no meaning.
    choice : bool
        Whether the sources leave it to their users.
    of_size : bool
        Whether the shapes of x and of the weights determine it.
    """

    name: str
    field: str
    values: Callable[[NonLocalSpec], tuple[str, ...]]
    others: Callable[[NonLocalSpec], Iterable[Changes]]
    matters: Callable[[NonLocalSpec], bool] = lambda spec: True
    without: str = ""
    choice: bool = False
    of_size: bool = False

    def read(self, spec: NonLocalSpec) -> tuple[str, ...]:
        """Its values in the spec; none where it has no meaning."""
        return self.values(spec) if self.matters(spec) else ()

    def varied(self, spec: NonLocalSpec) -> list[NonLocalSpec]:
        """The specs that differ from this one in the rule, and in no other if that is possible."""
        return _varied(self, spec)


@cache
def _varied(rule: Rule, spec: NonLocalSpec) -> list[NonLocalSpec]:
    found: dict[NonLocalSpec, None] = {}
    for changes in rule.others(spec):
        with contextlib.suppress(ValueError):  # some rules exclude each other
            found[changed(spec, changes)] = None
    found.pop(spec, None)
    return list(found)


def changed(spec: NonLocalSpec, changes: Changes) -> NonLocalSpec:
    """The spec with these fields; a field without meaning gets its default.

    Where D changes, V = D stays so.
    """
    fields = spec.arguments() | changes
    if spec.value_channels == spec.inner_channels:
        fields["value_channels"] = changes.get("value_channels", fields["inner_channels"])
    if fields["pairwise"] == "concatenation":
        fields["scale"] = 1.0
    else:
        fields["pair_bias"] = False
    if not fields["subsample"]:
        fields["subsample_at"] = "embedding"
    if not fields["batch_norm"]:
        fields["eps"] = EPS[0]
    return NonLocalSpec(**fields)


def scale_names(spec: NonLocalSpec) -> tuple[str, ...]:
    """The formulas that give the spec's scale, or the number."""
    c, d = spec.channels, spec.inner_channels
    names = (name for name, of in SCALES.items() if name != "other" and of(c, d) == spec.scale)
    return tuple(names) or (f"{spec.scale:g}",)


def rescaled(spec: NonLocalSpec, sizes: NonLocalSpec) -> float:
    """The spec's scale, by the same formula for the sizes of another spec."""
    return _scale_of(scale_names(spec)[0], sizes.channels, sizes.inner_channels)


def _scale_of(name: str, channels: int, inner: int) -> float:
    return SCALES[name](channels, inner) if name in SCALES else float(name)


def _scales(spec: NonLocalSpec) -> list[Changes]:
    names = (*(name for name in SCALES if name != "other"), str(_OTHER_SCALE))
    return [{"scale": _scale_of(n, spec.channels, spec.inner_channels)} for n in names]


def _poolings(spec: NonLocalSpec) -> list[Changes]:
    """No pooling, or that of the sources in each order."""
    window = POOLS[spec.ndim]
    pooled = [{"subsample": window, "subsample_at": at} for at in SUBSAMPLE_AT]
    return [{"subsample": None}] if spec.subsample else pooled


def _extents(spec: NonLocalSpec) -> Iterator[Changes]:
    """Other extents, without pooling where it is excluded."""
    one_frame, one_pixel = spec.pool[0] == 1, set(spec.pool[1:]) <= {1}
    for extent, window, fits in (
        ("all", None, True),
        ("space", None, one_frame),
        ("time", None, one_pixel),
        ("all", _FRAMES, one_frame),
    ):
        subsample = spec.subsample if fits else None
        yield {"extent": extent, "window": window, "subsample": subsample}


def _extent(spec: NonLocalSpec) -> str:
    return spec.extent if spec.window is None else f"windows of {spec.window} frames"


def _widths(spec: NonLocalSpec) -> Iterator[Changes]:
    """Other widths of theta and phi, with each formula that the scale may have."""
    c = spec.channels
    for name, scale in itertools.product(("C/2", "1", "C/8", "C"), scale_names(spec)):
        inner = INNER[name](c, 0)
        yield {"inner_channels": inner, "scale": _scale_of(scale, c, inner)}


def _inner(spec: NonLocalSpec) -> tuple[str, ...]:
    c, d = spec.channels, spec.inner_channels
    return tuple(n for n, of in INNER.items() if n != "any" and of(c, d) == d) or (str(d),)


def _value_widths(spec: NonLocalSpec) -> list[Changes]:
    """V = D, and a width that nothing else has."""
    return [{"value_channels": spec.inner_channels + more} for more in (0, 3)]


def _value(spec: NonLocalSpec) -> tuple[str, ...]:
    c, d, v = spec.channels, spec.inner_channels, spec.value_channels
    return tuple(n for n, of in VALUE.items() if n != "any" and of(c, d, 0) == v) or (str(v),)


def _axes(spec: NonLocalSpec) -> list[Changes]:
    return [
        {"ndim": n, "subsample": spec.subsample and POOLS[n], "extent": "all", "window": None}
        for n in AXES
        if n != spec.ndim
    ]


def _part(
    name: str,
    field: str,
    has: Callable[[NonLocalSpec], bool],
    others: Callable[[NonLocalSpec], Iterable[Changes]],
    matters: Callable[[NonLocalSpec], bool] = lambda spec: True,
    without: str = "",
) -> Rule:
    """The rule that a block has a part, which the sources leave to their users."""

    def values(spec: NonLocalSpec) -> tuple[str, ...]:
        return ("yes",) if has(spec) else ("no",)

    return Rule(name, field, values, others, matters, without, choice=True)


def _biases(spec: NonLocalSpec) -> list[Changes]:
    return [{"bias": bias} for bias in BIASES]


def _batch_norms(spec: NonLocalSpec) -> list[Changes]:
    with_ = [{"batch_norm": True, "eps": eps} for eps in EPS]
    return [{"batch_norm": False}] if spec.batch_norm else with_


PAIRWISE_FUNCTION = Rule(
    "pairwise function",
    "pairwise",
    lambda spec: (spec.pairwise,),
    lambda spec: [{"pairwise": pairwise} for pairwise in PAIRWISE],
)
SCALE = Rule(
    "scale",
    "scale",
    scale_names,
    _scales,
    matters=lambda spec: spec.pairwise != "concatenation",
    without="concatenation has none",
)
BN_EPS = Rule(
    "eps",
    "eps",
    lambda spec: (f"{spec.eps:g}" if spec.eps >= 1e-9 else "below 1e-09",),
    lambda spec: [{"eps": eps} for eps in EPS],
    matters=lambda spec: spec.batch_norm,
    without="it has no batch normalization",
    choice=True,
)
#: In the order in which they are shown.
RULES = (
    PAIRWISE_FUNCTION,
    Rule(
        "positions", "ndim", lambda spec: (f"({', '.join(AXES[spec.ndim])})",), _axes, of_size=True
    ),
    Rule("D", "inner_channels", _inner, _widths, of_size=True),
    Rule("V", "value_channels", _value, _value_widths, of_size=True),
    Rule(
        "C(x)",
        "normalization",
        lambda spec: ({"sum": "sum of f", "count": "number of positions"}[spec.normalization],),
        lambda spec: [{"normalization": name} for name in NORMALIZATIONS],
    ),
    SCALE,
    Rule(
        "extent",
        "extent",
        lambda spec: (_extent(spec),),
        _extents,
        matters=lambda spec: spec.ndim == 3,
        without="only (T, H, W) has another than all",
    ),
    _part("subsampling", "subsample", lambda spec: spec.subsample is not None, _poolings),
    Rule(
        "pooling window",
        "subsample",
        lambda spec: (str(spec.subsample),) if spec.subsample else (),
        lambda spec: [{"subsample": window} for window in _WINDOWS[spec.ndim]],
        matters=lambda spec: spec.subsample is not None,
        without="it does not pool",
        choice=True,
    ),
    Rule(
        "pooling order",
        "subsample_at",
        lambda spec: (
            "after the embeddings" if spec.subsample_at == "embedding" else "before the embeddings",
        ),
        lambda spec: [{"subsample_at": at} for at in SUBSAMPLE_AT],
        matters=lambda spec: spec.subsample is not None,
        without="it does not pool",
    ),
    _part("biases of the embeddings", "bias", lambda spec: spec.bias is not False, _biases),
    _part("bias of W_z", "bias", lambda spec: spec.bias is True, _biases),
    _part(
        "bias in the ReLU",
        "pair_bias",
        lambda spec: spec.pair_bias,
        lambda spec: [{"pair_bias": not spec.pair_bias}],
        matters=lambda spec: spec.pairwise == "concatenation",
        without="only concatenation has one",
    ),
    _part("batch normalization", "batch_norm", lambda spec: spec.batch_norm, _batch_norms),
    BN_EPS,
)
