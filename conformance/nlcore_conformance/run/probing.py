"""The specs that a backend supports, by its own `supports` or by calls of `block`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import PAIRWISE
from nlcore_conformance.backend.protocol import Backend, dtypes, supports
from nlcore_conformance.problems.templates import Template, templates


@cache
def probes() -> tuple[tuple[Template, NonLocalSpec], ...]:
    """Every template with a spec of ordinary sizes, which the backend is asked about."""
    every = (t for pairwise in PAIRWISE for t in templates(pairwise))
    return tuple((t, t.spec(64, 24, 2, 3, 1e-5)) for t in every)


def allowed_templates(
    backend: Backend, applies: Callable[[NonLocalSpec], bool]
) -> tuple[list[Template], str]:
    """The templates that the backend supports and whose specs `applies` accepts, or why none."""
    allowed, reason = [], "no spec is like that"
    for (template, spec), answer in zip(probes(), _answers(_Same(backend)), strict=True):
        if applies(spec):
            if answer is True:
                allowed.append(template)
            else:
                reason = str(answer)
    return allowed, reason


class _Same:
    """A backend as a key of a cache: compared by identity, whatever its own == and hash."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.backend is other.backend

    def __hash__(self) -> int:
        return id(self.backend)


@lru_cache(maxsize=1)  # all checks need the same answers
def _answers(key: _Same) -> tuple[bool | str, ...]:
    """The backend's answer about each probe: True, or the reason why not."""
    backend = key.backend
    answers: list[bool | str] = []
    tried: dict[tuple, bool | str] = {}
    for _, spec in probes():
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
    """The spec without its sizes, so that a backend without `supports` is called once for each."""
    pooled, windowed = spec.subsample is not None, spec.window is not None
    choices = (spec.bias, spec.pair_bias, spec.batch_norm, windowed, pooled and spec.subsample_at)
    return spec.pairwise, spec.normalization, spec.scale == 1, spec.ndim, spec.extent, *choices


def _try(backend: Backend, spec: NonLocalSpec) -> bool | str:
    """Whether `block` supports the spec: True, or why not. Other errors are left to the checks."""
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


def answer(backend: Backend, spec: NonLocalSpec) -> bool | str:
    """Whether the backend supports the spec's rules: True, or the reason why not."""
    if hasattr(backend, "supports"):
        return supports(backend, spec, dtypes(backend)[0])
    return _by_rules(_Same(backend))[_rules(spec)]


@lru_cache(maxsize=1)  # all values need the same answers
def _by_rules(key: _Same) -> dict[tuple, bool | str]:
    """The answer about each spec's rules, of a backend without `supports`."""
    answers = zip(probes(), _answers(key), strict=True)
    return {_rules(spec): answer for (_, spec), answer in answers}
