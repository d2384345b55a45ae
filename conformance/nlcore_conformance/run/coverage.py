"""How much of the spec a backend supports, and how much of it a run has tried."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import PAIRWISE
from nlcore_conformance.problems.case import DATA, LAYOUTS, Case
from nlcore_conformance.backend.protocol import Backend, dtypes, supports
from nlcore_conformance.problems.templates import Template, templates

#: field -> value -> examples
Counts = dict[str, dict[str, int]]


@cache
def _probes() -> tuple[tuple[Template, NonLocalSpec], ...]:
    """Every template with a spec of ordinary sizes, to ask whether it is supported."""
    every = (t for pairwise in PAIRWISE for t in templates(pairwise))
    return tuple((t, t.spec(64, 24, 2, 3, 1e-5)) for t in every)


def allowed_templates(
    backend: Backend, applies: Callable[[NonLocalSpec], bool]
) -> tuple[list[Template], str]:
    """The templates of specs that `applies` keeps and the backend supports, or why none."""
    allowed, reason = [], "no spec is like that"
    for (template, spec), answer in zip(_probes(), _answers(_Same(backend)), strict=True):
        if applies(spec):
            if answer is True:
                allowed.append(template)
            else:
                reason = str(answer)
    return allowed, reason


class _Same:
    """A backend as a key: it is itself and no other, whatever its own == and hash."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.backend is other.backend

    def __hash__(self) -> int:
        return id(self.backend)


@lru_cache(maxsize=1)  # every check asks the same
def _answers(key: _Same) -> tuple[bool | str, ...]:
    """What the backend says of each probe."""
    backend = key.backend
    answers: list[bool | str] = []
    tried: dict[tuple, bool | str] = {}
    for _, spec in _probes():
        if hasattr(backend, "supports"):
            said = [supports(backend, spec, dtype) for dtype in dtypes(backend)]
            answers.append(True if True in said else said[0])
            continue
        rules = _rules(spec)
        if rules not in tried:
            tried[rules] = _try(backend, replace(spec, scale=1.0 if spec.scale == 1 else 0.7))
        answers.append(tried[rules])
    return tuple(answers)


def _rules(spec: NonLocalSpec) -> tuple:
    """The spec but for its sizes, which a backend that cannot be asked is not tried with all of."""
    pooled, windowed = spec.subsample is not None, spec.window is not None
    choices = (spec.bias, spec.pair_bias, spec.batch_norm, windowed, pooled and spec.subsample_at)
    return spec.pairwise, spec.normalization, spec.scale == 1, spec.ndim, spec.extent, *choices


def _try(backend: Backend, spec: NonLocalSpec) -> bool | str:
    """Whether a backend that cannot be asked takes the spec; errors are for the checks to find."""
    rng = np.random.default_rng(0)
    weights = {n: rng.random(s, np.float32) for n, s in weight_shapes(spec).items()}
    x = np.ones((1, spec.channels, *np.multiply(spec.pool, 2)), np.float32)
    try:
        backend.block(spec, weights, x.astype(dtypes(backend)[0]))
    except NotImplementedError as error:
        return str(error) or "block raised NotImplementedError"
    except Exception:
        return True
    return True


#: Every value that a spec's fields are told apart by, and those of a case besides.
VALUES: dict[str, tuple[str, ...]] = {
    "pairwise": PAIRWISE,
    "normalization": ("sum", "count"),
    "scale": ("1", "other"),
    "ndim": ("1", "2", "3"),
    "subsample": ("none", "window"),
    "subsample_at": ("embedding", "input"),
    "extent": ("all", "space", "time"),
    "window": ("none", "frames"),
    "bias": ("False", "True"),
    "pair_bias": ("False", "True"),
    "batch_norm": ("False", "True"),
    "training": ("False", "True"),
    "layout": LAYOUTS,
    "data": DATA,
}


def values(case: Case) -> dict[str, str]:
    """field -> value of one case, as `VALUES` has them, and its dtype."""
    spec = case.spec
    seen = {f.name: str(getattr(spec, f.name)) for f in fields(spec) if f.name in VALUES}
    seen["scale"] = "1" if spec.scale == 1 else "other"
    seen["subsample"] = "none" if spec.subsample is None else "window"
    seen["window"] = "none" if spec.window is None else "frames"
    if spec.subsample is None:
        del seen["subsample_at"]  # it has no meaning there
    return seen | {
        "training": str(case.training),
        "layout": case.layout,
        "data": case.data,
        "dtype": case.dtype,
    }


def not_covered(backend: Backend, covered: Counts) -> dict[str, dict[str, str]]:
    """field -> value that no example had -> what the backend says of it."""
    missing: dict[str, dict[str, str]] = {}
    for name, known in VALUES.items():
        for value in known:
            if value not in covered.get(name, {}):
                missing.setdefault(name, {})[value] = _why(backend, name, value)
    return missing


def _why(backend: Backend, name: str, value: str) -> str:
    """What the backend says of a supported spec with this value, and what the value needs."""
    for _, spec in _probes():
        if _says(backend, spec) is True:
            with contextlib.suppress(TypeError, ValueError):
                answer = _says(backend, _changed(spec, name, value))
                if answer is not True:
                    return str(answer)
    return ""


def _says(backend: Backend, spec: NonLocalSpec) -> bool | str:
    if hasattr(backend, "supports"):
        return supports(backend, spec, dtypes(backend)[0])
    return _by_rules(_Same(backend))[_rules(spec)]


@lru_cache(maxsize=1)  # every value asks the same
def _by_rules(key: _Same) -> dict[tuple, bool | str]:
    """What trying a backend that cannot be asked has said of each spec's rules."""
    answers = zip(_probes(), _answers(key), strict=True)
    return {_rules(spec): answer for (_, spec), answer in answers}


def _changed(spec: NonLocalSpec, name: str, value: str) -> NonLocalSpec:
    """The spec with the value, and what the value needs.

    Raises
    ------
    TypeError, ValueError
        There is no such spec.
    """
    pool = (1, 2, 2)[-spec.ndim :]
    changes: dict[str, dict[str, Any]] = {
        "ndim": {"ndim": int(value)} if name == "ndim" else {},
        "subsample": {"subsample": None if value == "none" else pool},
        "subsample_at": {"subsample": pool, "subsample_at": value},
        "extent": {"ndim": 3, "extent": value},
        "window": {"ndim": 3, "window": None if value == "none" else 2},
        "scale": {"scale": 1.0 if value == "1" else 0.7},
        "pair_bias": {"pairwise": "concatenation", "scale": 1.0, "pair_bias": value == "True"},
        "training": {"batch_norm": True},  # without which there is no training to ask for
    }
    plain = {name: {"True": True, "False": False}.get(value, value)}
    return replace(spec, **changes.get(name, plain))
