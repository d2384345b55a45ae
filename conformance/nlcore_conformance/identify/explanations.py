"""The specs that explain a backend's answers."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.identify.answers import Answer, answer
from nlcore_conformance.identify.rules import BN_EPS, RULES, SCALE, Rule, changed, rescaled
from nlcore_conformance.identify.trials import Trial, trials

#: How many candidates are judged by their bounds: the nearest.
_NEAREST = 4
#: How many candidates, the nearest, get the scale or the eps that fits best.
_TUNED = 12
#: How often every combination of the rules is tried in vain: for a pairwise function and number of
#: axes, and in all.
_PATIENCE, _TOTAL = 2, 4
_SIZES = ("channels", "inner_channels", "value_channels", "ndim")


class Examined:
    """A backend that is examined: its answers, each with the spec that explains it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.answers: dict[NonLocalSpec, Answer] = {}
        self._trials = trials(backend)  # the one that was answered last comes first
        self._in_vain: Counter[tuple[str, int]] = Counter()

    def ask(self, spec: NonLocalSpec, rule: str = "") -> Answer:
        """The backend's answer about the spec, which is asked for once."""
        if spec not in self.answers:
            self.answers[spec] = self._answer(spec)
        if rule:
            self.answers[spec].varied.add(rule)
        return self.answers[spec]

    def _answer(self, spec: NonLocalSpec) -> Answer:
        """The first answer that a spec explains, or the first answer, or the first refusal."""
        answers: list[Answer] = []
        for trial in self._trials:
            answers.append(found := answer(self.backend, spec, trial))
            if found.z is not None:
                self._explain(found, found.z)
                if found.computed is not None or len(answers) > 1:
                    break
        found = max(answers, key=lambda a: (a.computed is not None, a.z is not None))
        if found.computed is not None:
            self._trials.sort(key=lambda trial: (trial != found.trial, trial.size))
            found.why = answers[0].why
            found.irregular = max(
                (a.ratio for a in answers if a is not found and a.z is not None), default=0.0
            )
        return found

    def _explain(self, found: Answer, z: np.ndarray) -> None:
        """Find the spec whose result z is."""
        found.ratio = found.trial.ratio(z, found.asked)
        for candidate in self._candidates(found.asked, z, found.trial):
            if (ratio := found.trial.ratio(z, candidate)) <= 1:
                found.computed, found.ratio = candidate, ratio
                found.could = _could(candidate, found)
                return
        self._in_vain[found.asked.pairwise, found.asked.ndim] += 1

    def _candidates(
        self, asked: NonLocalSpec, z: np.ndarray, trial: Trial
    ) -> Iterator[NonLocalSpec]:
        """Specs that may explain z, the likely ones first."""
        yield asked
        yield from _nearest(z, trial, self._moved(asked))
        tried = self._in_vain[asked.pairwise, asked.ndim]
        if tried < _PATIENCE and self._in_vain.total() < _TOTAL:
            every = combinations(asked)
            yield from _nearest(z, trial, every)
            for rule in (SCALE, BN_EPS):
                yield from _tuned(z, trial, rule, every)

    def _moved(self, asked: NonLocalSpec) -> list[NonLocalSpec]:
        """The spec, changed as earlier answers differ from what was asked."""
        found: dict[NonLocalSpec, None] = {}
        for earlier in self.answers.values():
            computed = earlier.computed
            if computed not in (None, earlier.asked) and computed.ndim == asked.ndim:
                found |= dict.fromkeys(_moved(earlier.asked, computed, asked))
        return [spec for spec in found if fits(spec, asked)]


def fits(candidate: NonLocalSpec, spec: NonLocalSpec) -> bool:
    """Whether the spec has all the weights that the candidate takes."""
    given = weight_shapes(spec)
    return all(given.get(name) == shape for name, shape in weight_shapes(candidate).items())


def combinations(spec: NonLocalSpec) -> list[NonLocalSpec]:
    """Every combination of the rules that takes the spec's weights, or some of them.

    The sizes are the spec's, and so is eps.
    """
    found = {spec: None}
    for rule in RULES:
        if not rule.of_size and rule is not BN_EPS:
            others = (other for one in found for other in rule.varied(one))
            found |= {o: None for o in others if o.eps in (spec.eps, 1e-5) and fits(o, spec)}
    return list(found)


def _nearest(z: np.ndarray, trial: Trial, specs: Iterable[NonLocalSpec]) -> list[NonLocalSpec]:
    """The few specs whose results are nearest to z, with any usual eps; the nearest first."""
    near = _sorted(z, trial, specs)[:_NEAREST]
    return _sorted(z, trial, [*near, *(o for one in near for o in BN_EPS.varied(one))])[:_NEAREST]


def _sorted(z: np.ndarray, trial: Trial, specs: Iterable[NonLocalSpec]) -> list[NonLocalSpec]:
    return sorted(dict.fromkeys(specs), key=lambda spec: trial.error(z, spec))


def _tuned(
    z: np.ndarray, trial: Trial, rule: Rule, specs: list[NonLocalSpec]
) -> Iterator[NonLocalSpec]:
    """The nearest specs with the number that fits z best, the fewest digits first."""
    near: dict[NonLocalSpec, NonLocalSpec] = {}
    for spec in _sorted(z, trial, filter(rule.matters, specs)):
        near.setdefault(changed(spec, {rule.field: 1.0}), spec)  # one for all values of the number
    for spec in list(near)[:_TUNED]:

        def tuned(
            sign: int, log: float, digits: int = 12, spec: NonLocalSpec = spec
        ) -> NonLocalSpec:
            return changed(spec, {rule.field: float(f"{sign * 10.0**log:.{digits}g}")})

        def error(at: tuple[int, float]) -> float:
            return trial.error(z, tuned(*at))

        signs = (1, -1) if rule is SCALE else (1,)
        (sign, log), step = min(itertools.product(signs, np.arange(-12, 3, 0.5)), key=error), 0.25
        while step > 1e-9:
            _, log = min(((sign, log + s) for s in (0, -step, step)), key=error)
            step *= 0.5
        yield from (tuned(sign, log, digits) for digits in (1, 2, 3, 5, 8))


def _could(computed: NonLocalSpec, found: Answer) -> dict[str, tuple[str, ...]]:
    """`Answer.could` of an answer whose result is that of the spec `computed`."""
    could = {}
    for rule in filter(lambda rule: rule.matters(computed), RULES):
        others = [other for other in rule.varied(computed) if fits(other, found.asked)]
        same = [o for o in others if not rule.of_size and found.trial.alike(computed, o)]
        if not others or len(same) < len(others):
            values = (rule.values(spec) for spec in (computed, *same))
            could[rule.name] = tuple(dict.fromkeys(itertools.chain.from_iterable(values)))
    return could


def _moved(was: NonLocalSpec, now: NonLocalSpec, spec: NonLocalSpec) -> Iterator[NonLocalSpec]:
    """The spec with the fields of `now`: those in which it differs from `was`, and all."""
    every = {name: value for name, value in now.arguments().items() if name not in _SIZES}
    every["scale"] = rescaled(now, spec)
    for name in ("bias", "pair_bias", "batch_norm"):  # no more weights than there are
        every[name] = min(every[name], getattr(spec, name), key=(False, "embeddings", True).index)
    some = {name: v for name, v in every.items() if getattr(was, name) != getattr(now, name)}
    for fields in (some, every):
        with contextlib.suppress(ValueError):  # some rules exclude each other
            yield changed(spec, fields)
