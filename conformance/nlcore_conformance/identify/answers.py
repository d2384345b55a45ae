"""A backend's answers, and the spec that each of them computes."""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import Backend, accumulates, dtypes, supports
from nlcore_conformance.checks.comparison import Broken, Expected, asked, expected, judged
from nlcore_conformance.identify.rules import (
    RULES,
    Rule,
    changed,
    combinations,
    fits,
    scale_names,
    scale_of,
)
from nlcore_conformance.problems.case import Problem

_BATCH = 2
#: Sizes that pooling windows do not fill, sizes that they fill, and larger ones, by number of axes.
#: The next are tried where the first are refused.
_SIZES: tuple[dict[int, tuple[int, ...]], ...] = (
    {1: (7,), 2: (5, 7), 3: (9, 3, 5)},
    {1: (8,), 2: (4, 6), 3: (6, 4, 4)},
    {1: (32,), 2: (16, 16), 3: (6, 8, 8)},
)
#: It computes the many candidates. The reference then judges those near an answer.
_SCREEN = Plain(("float64",))
#: How many candidates are judged by their bounds: the nearest.
_NEAREST = 4
#: How many candidates, the nearest, get the scale or the eps that fits best.
_TUNED = 12
#: How many answers are compared with every combination of the rules, if none explains any.
_PATIENCE = 2
_NUMBERS = [rule for rule in RULES if rule.field in ("scale", "eps")]
_OF_RESULT = [rule for rule in RULES if not rule.of_size]
_OF_SIZE = ("inner_channels", "value_channels", "ndim")


@dataclass(eq=False)
class Answer:
    """The backend's result for one spec.

    Attributes
    ----------
    asked
        The spec.
    z, why
        The result, or why there is none, or why there is none for the first size that was tried.
    refused : bool
        Whether the backend does not support the spec: there is no result, and not by a mistake.
    size : int
        The size of x: its place in `_SIZES`.
    varied : set of str
        Names of the rules that it was asked about with this spec.
    computed
        The spec whose result z is, or None if there is no such spec.
    ratio : float
        Error / bound of z as the result of `computed`, or of `asked` if there is none.
    could : dict
        Rule -> its values, in words, with which the result would be the same. A rule on which the
        result does not depend is left out.
    irregular : float
        The ratio of a result for smaller positions, which pooling windows do not fill, if it is
        the result of no spec. 0 if there is no such result.
    """

    asked: NonLocalSpec
    z: np.ndarray | None = None
    why: str = ""
    refused: bool = False
    size: int = 0
    varied: set[str] = field(default_factory=set)
    computed: NonLocalSpec | None = None
    ratio: float = np.inf
    could: dict[str, tuple[str, ...]] = field(default_factory=dict)
    irregular: float = 0.0

    def heeds(self, rule: Rule) -> bool:
        """Whether the result may be that of the rule as asked, or the rule has no meaning."""
        return self.may_be(rule, rule.read(self.asked))

    def may_be(self, rule: Rule, values: tuple[str, ...]) -> bool:
        """Whether the result may be that of one of the values, or there is none to compare."""
        could = self.could.get(rule.name, ())
        return not could or not values or not {*values}.isdisjoint(could)


class Examined:
    """A backend that is examined: its answers, and the specs that explain them."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        known = dtypes(backend)
        self.dtype = "float32" if "float32" in known else known[0]
        self.sums = accumulates(backend, self.dtype)
        self.answers: dict[NonLocalSpec, Answer] = {}
        self._size = 0  # the sizes that were answered last
        self._in_vain: Counter[tuple[str, int]] = Counter()  # answers that nothing explained

    def ask(self, spec: NonLocalSpec, rule: str = "") -> Answer:
        """The backend's answer about the spec, which is asked for once."""
        if spec not in self.answers:
            self.answers[spec] = self._answer(spec)
        if rule:
            self.answers[spec].varied.add(rule)
        return self.answers[spec]

    def _answer(self, spec: NonLocalSpec) -> Answer:
        """The first answer that a spec explains, or the first answer, or the first refusal."""
        if (why := supports(self.backend, spec, self.dtype)) is not True:
            return Answer(spec, why=str(why), refused=True)
        answers = []
        for size in dict.fromkeys((self._size, *range(len(_SIZES)))):
            answer = self._called(spec, size)
            answers.append(answer)
            if answer.z is not None:
                self._explain(answer)
                if answer.computed is not None or size > 0:
                    break
        found = max(answers, key=lambda a: (a.computed is not None, a.z is not None))
        if found.computed is not None:
            self._size = found.size
            others = (a.ratio for a in answers if a.z is not None and a.computed is None)
            found.irregular = max(others, default=0.0)
            found.why = answers[0].why
        return found

    def _called(self, spec: NonLocalSpec, size: int) -> Answer:
        """The backend's result at these sizes, or why there is none."""
        p = _problem(spec, self.dtype, size)
        own = {name: weight.copy() for name, weight in p.weights.items()}
        try:
            z = asked(self.backend, replace(p, weights=own, x=p.x.copy()))
        except NotImplementedError as error:
            why = str(error) or "block raised NotImplementedError"
            return Answer(spec, why=why, refused=True)
        except Broken as error:
            return Answer(spec, why=str(error))
        form = judged("z", z, np.zeros(p.x.shape), np.full(p.x.shape, np.inf), self.dtype)
        if form.note:
            return Answer(spec, why=form.note)
        return Answer(spec, z, size=size)

    def ratio(self, answer: Answer, spec: NonLocalSpec) -> float:
        """Error / bound of z as the spec's result; inf where most elements have no finite bound."""
        right = _expected(spec, self.dtype, self.sums, answer.size)
        j = judged("z", answer.z, right.values["z"], right.bounds["z"], self.dtype)
        return j.ratio if j.unpredictable < j.elements / 2 else np.inf

    # What an answer computes.

    def _explain(self, answer: Answer) -> None:
        """Find the spec whose result z is, among few specs first."""
        spec = answer.asked
        answer.ratio = self.ratio(answer, spec)
        for candidates in (self._asked, self._moved, self._near, self._combinations):
            specs = candidates(spec)
            near = self._nearest(answer, specs)[:_NEAREST]
            near = self._nearest(answer, [*near, *(o for c in near for o in _NUMBERS[1].varied(c))])
            if self._right(answer, near[:_NEAREST]):
                return
        if any(self._right(answer, self._tuned(answer, rule, specs)) for rule in _NUMBERS):
            return
        self._in_vain[spec.pairwise, spec.ndim] += 1

    def _right(self, answer: Answer, candidates: Iterable[NonLocalSpec]) -> bool:
        """Whether z is the result of one of the candidates, which is kept."""
        for candidate in candidates:
            if (ratio := self.ratio(answer, candidate)) <= 1:
                answer.computed, answer.ratio = candidate, ratio
                answer.could = self._could(answer, candidate)
                return True
        return False

    def _asked(self, spec: NonLocalSpec) -> list[NonLocalSpec]:
        return [spec]

    def _moved(self, spec: NonLocalSpec) -> list[NonLocalSpec]:
        """The spec, and the spec changed as other answers differ from what was asked."""
        found = {spec: None}
        for answer in self.answers.values():
            if answer.computed not in (None, answer.asked) and answer.asked.ndim == spec.ndim:
                found |= dict.fromkeys(_moved(answer.asked, answer.computed, spec))
        return [candidate for candidate in found if fits(candidate, spec)]

    def _near(self, spec: NonLocalSpec) -> list[NonLocalSpec]:
        """Those, and specs that differ from them in one rule."""
        moved = self._moved(spec)
        others = (other for one in moved for rule in _OF_RESULT for other in rule.varied(one))
        return [c for c in dict.fromkeys((*moved, *others)) if fits(c, spec)]

    def _combinations(self, spec: NonLocalSpec) -> list[NonLocalSpec]:
        """Every combination of the rules, if that has not been in vain before."""
        of_spec = self._in_vain[spec.pairwise, spec.ndim]
        in_vain = of_spec >= _PATIENCE or self._in_vain.total() >= 2 * _PATIENCE
        return [] if in_vain else combinations(spec)

    def _nearest(self, answer: Answer, specs: Iterable[NonLocalSpec]) -> list[NonLocalSpec]:
        """The specs, those whose results are nearest to z first."""
        return sorted(dict.fromkeys(specs), key=lambda spec: self._error(answer, spec))

    def _error(self, answer: Answer, spec: NonLocalSpec) -> float:
        """The largest error of z as the spec's result."""
        error = np.abs(answer.z.astype(np.float64) - _screened(spec, self.dtype, answer.size))
        return float(np.nan_to_num(error.max(), nan=np.inf))

    def _tuned(
        self, answer: Answer, rule: Rule, specs: Iterable[NonLocalSpec]
    ) -> Iterator[NonLocalSpec]:
        """The nearest specs with the number that fits z best, with few digits first."""
        signs = (1, -1) if rule.field == "scale" else (1,)
        near = {}
        for spec in self._nearest(answer, [spec for spec in specs if rule.matters(spec)]):
            near.setdefault(
                changed(spec, {rule.field: 1.0}), spec
            )  # one of those that differ in it
        for spec in list(near.values())[:_TUNED]:

            def error(at: tuple[int, float], spec: NonLocalSpec = spec) -> float:
                return self._error(answer, changed(spec, {rule.field: at[0] * 10.0 ** at[1]}))

            best, step = min(itertools.product(signs, np.arange(-12, 3, 0.5)), key=error), 0.25
            while step > 1e-9:
                best = min((best, *((best[0], best[1] + s) for s in (-step, step))), key=error)
                step *= 0.5
            for digits in (1, 2, 3, 5, 8):
                number = float(f"{best[0] * 10.0 ** best[1]:.{digits}g}")
                yield changed(spec, {rule.field: number})

    def _alike(self, answer: Answer, spec: NonLocalSpec) -> bool:
        """Whether the answer does not tell the spec from `computed`: both bounds overlap."""
        assert answer.computed is not None
        results = (_screened(s, self.dtype, answer.size) for s in (answer.computed, spec))
        right = _expected(answer.computed, self.dtype, self.sums, answer.size)
        return not np.any(np.abs(np.subtract(*results)) > 2 * right.bounds["z"])

    def _could(self, answer: Answer, computed: NonLocalSpec) -> dict[str, tuple[str, ...]]:
        """`Answer.could`."""
        could = {}
        for rule in RULES:
            if rule.matters(computed):
                others = [o for o in rule.varied(computed) if fits(o, answer.asked)]
                same = [o for o in others if not rule.of_size and self._alike(answer, o)]
                if not others or len(same) < len(others):
                    values = (rule.values(spec) for spec in (computed, *same))
                    could[rule.name] = tuple(dict.fromkeys(itertools.chain.from_iterable(values)))
        return could


def _moved(
    asked: NonLocalSpec, computed: NonLocalSpec, spec: NonLocalSpec
) -> Iterator[NonLocalSpec]:
    """The spec with the fields of `computed`: those that `asked` has differently, and all."""
    was, now, own = asked.arguments(), computed.arguments(), spec.arguments()
    every = {name: value for name, value in now.items() if name not in ("channels", *_OF_SIZE)}
    every["scale"] = scale_of(scale_names(computed)[0], spec.inner_channels, spec.channels)
    for name in ("bias", "pair_bias", "batch_norm"):  # no more weights than there are
        every[name] = min(now[name], own[name], key=(False, "embeddings", True).index)
    for fields in ({n: v for n, v in every.items() if was[n] != now[n]}, every):
        with contextlib.suppress(ValueError):  # some rules exclude each other
            yield changed(spec, fields)


@cache
def _problem(spec: NonLocalSpec, dtype: str, size: int) -> Problem:
    """The spec's problem: all specs share x, and a weight's numbers depend on its name."""
    x = _x(spec.channels, spec.ndim, dtype, size)
    weights = {n: _as(_weight(n, shape), dtype) for n, shape in weight_shapes(spec).items()}
    return Problem(spec, weights, x, x, False, dtype)


@cache
def _x(channels: int, ndim: int, dtype: str, size: int) -> np.ndarray:
    """Keys are alike, so that no sum of products is near 0; products are in the range of exp."""
    rng = np.random.default_rng(ndim)
    shape = (_BATCH, channels, *_SIZES[size][ndim])  # (B, C, *positions)
    sign = rng.choice([-1.0, 1.0], (1, channels, *[1] * ndim))
    return _as(0.4 * (rng.normal(size=shape) + 1.5 * sign), dtype)


@cache
def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers that depend on the name; the variance is small, so that eps matters."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name == "bn.running_var":
        return rng.uniform(2e-3, 5e-3, shape)
    if name == "theta.weight":
        return _weight("phi.weight", shape) + 0.1 * rng.normal(size=shape)
    if name.endswith("bias") or name.startswith("bn"):
        return 0.5 * rng.normal(size=shape)
    return rng.normal(size=shape) / np.sqrt(shape[-1])


def _as(array: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        import ml_dtypes

        return array.astype(ml_dtypes.bfloat16)
    return array.astype(dtype)


@lru_cache(maxsize=2**9)
def _expected(spec: NonLocalSpec, dtype: str, sums: str, size: int) -> Expected:
    return expected(_problem(spec, dtype, size), sums, gradient=False)


@lru_cache(maxsize=2**11)
def _screened(spec: NonLocalSpec, dtype: str, size: int) -> np.ndarray:
    p = _problem(spec, dtype, size)
    weights = {name: weight.astype(np.float64) for name, weight in p.weights.items()}
    return _SCREEN.block(spec, weights, p.x.astype(np.float64))
