"""How much of the specification a run has judged."""

from __future__ import annotations

import contextlib
import math
from dataclasses import fields, replace
from typing import Any

from nlcore import NonLocalSpec
from nlcore.block_cost import seen
from nlcore.spec import PAIRWISE
from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.problems.case import LAYOUTS, Case
from nlcore_conformance.problems.numbers import DATA
from nlcore_conformance.run.probing import answer, example
from nlcore_conformance.run.results import Counts

#: Classes of the number of positions that see each other.
SIZES = ("up to 64", "up to 600", "up to 4096", "more")
#: field -> its values, of a spec and of a case, that coverage distinguishes.
VALUES: dict[str, tuple[str, ...]] = {
    "pairwise": PAIRWISE,
    "normalization": ("sum", "count"),
    "scale": ("1", "other"),
    "ndim": ("1", "2", "3"),
    "subsample": ("none", "window"),
    "subsample_at": ("embedding", "input"),
    "extent": ("all", "space", "time"),
    "window": ("none", "frames"),
    "value_channels": ("= inner", "> inner", "< inner"),
    "bias": ("False", "True", "embeddings"),
    "pair_bias": ("False", "True"),
    "batch_norm": ("False", "True"),
    "eps": ("1e-05", "other"),
    "training": ("False", "True"),
    "layout": LAYOUTS,
    "data": DATA,
    "items": ("1", "more"),
    "positions": SIZES,
    "positions in gradients": SIZES,
}


def values(case: Case, gradient: bool) -> dict[str, str]:
    """field -> value of one case, for the fields of `VALUES` and its dtype."""
    spec = case.spec
    found = {f.name: str(getattr(spec, f.name)) for f in fields(spec) if f.name in VALUES}
    found["value_channels"] = f"{_sign(spec.value_channels, spec.inner_channels)} inner"
    found["scale"] = "1" if spec.scale == 1 else "other"
    found["subsample"] = "none" if spec.subsample is None else "window"
    found["window"] = "none" if spec.window is None else "frames"
    if spec.subsample is None:
        del found["subsample_at"]  # without subsampling it has no meaning
    found["eps"] = str(spec.eps) if spec.eps == 1e-5 else "other"
    if not spec.batch_norm:
        del found["eps"]
    limits = zip((64, 600, 4096, math.inf), SIZES, strict=True)
    size = next(name for limit, name in limits if seen(spec, case.positions) <= limit)
    return found | {
        "items": "1" if case.batch == 1 else "more",
        "positions in gradients" if gradient else "positions": size,
        "training": str(case.training),
        "layout": case.layout,
        "data": case.data,
        "dtype": case.dtype,
    }


def _sign(a: int, b: int) -> str:
    return "=" if a == b else ">" if a > b else "<"


def not_covered(backend: Backend, covered: Counts) -> dict[str, dict[str, str]]:
    """field -> value that no example had -> why the backend does not support it, "" if it does.

    Parameters
    ----------
    covered
        field -> value -> how many examples had it, as `runner.run_check` counts them.
    """
    missing: dict[str, dict[str, str]] = {}
    for name, known in VALUES.items():
        for value in known:
            if value not in covered.get(name, {}):
                missing.setdefault(name, {})[value] = _why(backend, name, value)
    return missing


def _why(backend: Backend, name: str, value: str) -> str:
    """Why the backend does not support a spec that it supports, changed to this value."""
    if name == "positions in gradients" and not hasattr(backend, "block_vjp"):
        return "the backend has no block_vjp"
    for spec in example(backend):
        with contextlib.suppress(TypeError, ValueError):
            said = answer(backend, _changed(spec, name, value))
            if said is not True:
                return str(said)
    return ""


def _changed(spec: NonLocalSpec, name: str, value: str) -> NonLocalSpec:
    """The spec with the value, and with the other fields that the value needs.

    Raises
    ------
    TypeError, ValueError
        There is no such spec.
    """
    pool, d = (1, 2, 2)[-spec.ndim :], spec.inner_channels
    changes: dict[str, dict[str, Any]] = {
        "ndim": {"ndim": int(value)} if name == "ndim" else {},
        "subsample": {"subsample": None if value == "none" else pool},
        "subsample_at": {"subsample": pool, "subsample_at": value},
        "extent": {"ndim": 3, "extent": value},
        "window": {"ndim": 3, "window": None if value == "none" else 2},
        "scale": {"scale": 1.0 if value == "1" else 0.7},
        "eps": {"batch_norm": True, "eps": 1e-5 if value == "1e-05" else 1e-3},
        "pair_bias": {"pairwise": "concatenation", "scale": 1.0, "pair_bias": value == "True"},
        "training": {"batch_norm": True},  # without it training changes nothing
    }
    values = {"= inner": d, "> inner": d + 3, "< inner": max(d // 2, 1)}
    if name == "value_channels":
        return replace(spec, value_channels=values[value])
    plain = {name: {"True": True, "False": False}.get(value, value)}
    return replace(spec, **changes.get(name, plain))
