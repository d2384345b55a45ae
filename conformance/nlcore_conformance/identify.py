"""Which dialect does a backend compute? Its answers alone tell, whatever it says of itself.

It is asked for every spec that `nlcore.DIALECTS` makes, on one small problem on which all
candidates differ by far more than their bounds. What it answers is held against the spec that was
asked for; against each dialect, the choices that a source leaves to its user (biases, batch
normalization, subsampling or not) being as asked or as the dialect has them; and, where no dialect
is right, against every combination of the rules. Gradients are not asked for.
"""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import nlcore
from nlcore import DIALECTS, NonLocalSpec, weight_shapes
from nlcore.spec import EXTENTS, NORMALIZATIONS, PAIRWISE, SUBSAMPLE_AT
from nlcore_conformance.checks.comparison import Broken, Expected, asked, expected, judged
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.problems.case import Problem
from nlcore_conformance.backend.protocol import Backend, accumulates, dtypes, supports

#: Sizes at which the scales differ, and windows do not fill the axes.
CHANNELS, INNER, BATCH = 16, 8, 2
_POSITIONS = {1: (7,), 2: (5, 7), 3: (3, 5, 5)}
_SCALES = {"1": 1.0, "D^-1/2": INNER**-0.5, "C^-1/2": CHANNELS**-0.5, "D^1/2": INNER**0.5}
_WINDOWS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((2,),),
    2: ((2, 2),),
    3: ((1, 2, 2), (2, 2, 2), (2, 1, 1)),
}
#: NumPy implementations' and PyTorch's default, and Keras'.
_EPS = (1e-5, 1e-3)
#: What a source leaves to its user.
_OPTIONAL = ("bias", "pair_bias", "batch_norm")
#: Stands among the dialects for the spec that was asked for.
ASKED = "what is asked"
#: What many combinations of rules are computed with; those nearby are judged by the reference.
_SCREEN = Plain(("float64",))
#: How many candidates are held against an answer by their bounds, the nearest first.
_NEAREST = 4

Progress = Callable[[str, int, int], None]


@dataclass
class Answer:
    """What came of one spec."""

    asked: NonLocalSpec
    z: np.ndarray | None = None
    why: str = ""  # there is no z


@dataclass(frozen=True)
class Distance:
    """How far answers are from a dialect."""

    changes: tuple[str, ...] | None  # rules that explain them all, "scale=1"; None: no rules do
    ratio: float  # to the dialect itself, of the worst answer
    pairwise: tuple[str, ...]  # that the dialect was compared by, where rules explain


@dataclass
class Finding:
    """What a backend computes where it is asked for one pairwise function."""

    pairwise: str
    ndim: int
    answers: list[Answer]
    own: tuple[str, ...] = ()  # dialects whose own spec was answered
    exact: tuple[str, ...] = ()  # and answered right
    distances: dict[str, Distance] = field(default_factory=dict)  # of ASKED and of each dialect
    several: bool = False  # it was asked for more than one rule
    text: str = ""

    @property
    def answered(self) -> int:
        """How many specs were answered."""
        return sum(answer.z is not None for answer in self.answers)

    @property
    def as_asked(self) -> bool:
        """Whether every answer is what was asked for."""
        return self.explained(ASKED)

    def explained(self, name: str) -> bool:
        """Whether the dialect, or ASKED, explains every answer."""
        return name in self.distances and self.distances[name].changes == ()

    @property
    def dialects(self) -> tuple[str, ...]:
        """The dialects that explain every answer: those answered themselves, if there are any."""
        right = [name for name in DIALECTS if self.explained(name)]
        return tuple([name for name in right if name in self.exact] or right)


@dataclass
class Identification:
    """What a backend computes.

    Attributes
    ----------
    sentence : str
        All of it in one sentence.
    follows : bool
        It computes what the spec asks for.
    dialects : tuple of str
        The dialects that explain all answers; where it follows the spec, those that it supports.
    nearest : str
        Where no dialect does: the nearest, with the rules that differ.
    ratio : float
        Error / bound of the worst answer to what `sentence` names, or to the nearest dialect.
    findings : list of Finding
        By pairwise function and number of axes.
    """

    backend: str
    sentence: str = ""
    follows: bool = False
    dialects: tuple[str, ...] = ()
    nearest: str = ""
    ratio: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def identified(self) -> bool:
        """Whether it follows the spec, or computes a dialect."""
        return self.follows or bool(self.dialects)

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Pairwise function, axes, specs answered of those asked, and what it computes."""
        merged: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings:
            if finding.answered:
                merged.setdefault((finding.pairwise, finding.text), []).append(finding)
        return [
            (
                pairwise,
                ", ".join(str(f.ndim) for f in same),
                f"{sum(f.answered for f in same)} of {sum(len(f.answers) for f in same)}",
                text,
            )
            for (pairwise, text), same in merged.items()
        ]

    @property
    def unanswered(self) -> dict[str, int]:
        """Why specs were not answered -> how many."""
        answers = [a for f in self.findings for a in f.answers if a.z is None]
        return dict(Counter(a.why for a in answers).most_common())


def identify(
    backend: Backend, progress: Progress = lambda name, done, total: None
) -> Identification:
    """Ask the backend for every dialect, and say which it computes."""
    groups = list(_questions())
    total = sum(map(len, groups))
    lens = _Lens(backend)
    found = Identification(backend.name)
    done = 0
    for specs in groups:
        answers = []
        for spec in specs:
            answers.append(lens.answer(spec))
            done += 1
            progress(f"{spec.pairwise}, ndim {spec.ndim}", done, total)
        found.findings.append(_finding(lens, answers))
    _conclude(found)
    return found


def show(identification: Identification, console: Console) -> None:
    """Print the sentence, and what it rests on."""
    text = f"{identification.backend} {identification.sentence}"
    console.print(text, style="bold", soft_wrap=True, markup=False)
    table = Table("asked for", "ndim", "answered", "computes")
    for row in identification.rows:
        table.add_row(*row)
    if table.row_count:
        console.print(table)
    for why, count in identification.unanswered.items():
        console.print(f"{count} specs not answered: {why}", soft_wrap=True, markup=False)


def _questions() -> Iterator[list[NonLocalSpec]]:
    """The distinct specs of all dialects, by number of axes and pairwise function."""
    for ndim, pairwise in itertools.product((3, 2, 1), PAIRWISE):
        own = (_own(name, pairwise, ndim) for name in DIALECTS)
        yield list(dict.fromkeys(spec for spec in own if spec is not None))


def _own(name: str, pairwise: str, ndim: int) -> NonLocalSpec | None:
    """What the dialect computes, if it has this pairwise function and so many axes."""
    known = DIALECTS[name]
    if pairwise not in known.pairwise or ndim not in known.ndims:
        return None
    spec = nlcore.dialect(name, CHANNELS, pairwise, ndim=ndim, inner_channels=INNER)
    return _plain(**spec.arguments())


def _plain(**arguments: Any) -> NonLocalSpec:
    """A spec in which what has no meaning has its default."""
    if not arguments["subsample"]:
        arguments["subsample_at"] = "embedding"
    if not arguments["batch_norm"]:
        arguments["eps"] = _EPS[0]
    return NonLocalSpec(**arguments)


class _Lens:
    """A backend, and how its answers compare with what each spec makes of the same problem."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        known = dtypes(backend)
        self.dtype = "float32" if "float32" in known else known[0]

    def answer(self, spec: NonLocalSpec) -> Answer:
        """What the backend makes of the spec."""
        p = _problem(spec, self.dtype)
        own = {name: weight.copy() for name, weight in p.weights.items()}
        try:
            if (why := supports(self.backend, spec, self.dtype)) is not True:
                return Answer(spec, why=str(why))
            z = asked(self.backend, replace(p, weights=own, x=p.x.copy()))
        except NotImplementedError as error:
            return Answer(spec, why=str(error) or "block raised NotImplementedError")
        except Broken as error:
            return Answer(spec, why=str(error))
        form = judged("z", z, np.zeros(p.x.shape), np.full(p.x.shape, np.inf), self.dtype)
        return Answer(spec, why=form.note) if form.note else Answer(spec, z)

    def ratio(self, z: np.ndarray, spec: NonLocalSpec) -> float:
        """Error / bound of z as an answer to the spec; inf where most of it cannot be judged."""
        right = _expected(spec, self.dtype, accumulates(self.backend, self.dtype))
        j = judged("z", z, right.values["z"], right.bounds["z"], self.dtype)
        return j.ratio if j.unpredictable < j.elements / 2 else np.inf

    def nearest(self, z: np.ndarray, specs: list[NonLocalSpec]) -> list[NonLocalSpec]:
        """The specs whose values are nearest to z."""
        got = z.astype(np.float64)

        def error(spec: NonLocalSpec) -> float:
            return float(np.nan_to_num(np.abs(got - _screened(spec, self.dtype)).max(), nan=np.inf))

        return sorted(specs, key=error)[:_NEAREST]


@cache
def _problem(spec: NonLocalSpec, dtype: str) -> Problem:
    """The spec's problem: x is the same, and each weight by its name, in every spec."""
    # keys alike, so that no sum of products is near 0; products of a size that exp can take
    rng = np.random.default_rng(spec.ndim)
    sign = rng.choice([-1.0, 1.0], (1, CHANNELS, *[1] * spec.ndim))
    x = rng.normal(size=(BATCH, CHANNELS, *_POSITIONS[spec.ndim])) + 1.5 * sign
    weights = {n: _as(_weight(n, shape), dtype) for n, shape in weight_shapes(spec).items()}
    x = _as(0.4 * x, dtype)
    return Problem(spec, weights, x, x, False, dtype)


@cache
def _expected(spec: NonLocalSpec, dtype: str, sums: str) -> Expected:
    return expected(_problem(spec, dtype), sums, gradient=False)


@cache
def _screened(spec: NonLocalSpec, dtype: str) -> np.ndarray:
    p = _problem(spec, dtype)
    weights = {name: weight.astype(np.float64) for name, weight in p.weights.items()}
    return _SCREEN.block(spec, weights, p.x.astype(np.float64))


def _as(array: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        import ml_dtypes

        return array.astype(ml_dtypes.bfloat16)
    return array.astype(dtype)


@cache
def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers that depend on the name; the variance is small, so that eps tells."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name == "out.bias":  # which some sources have none of
        return np.zeros(shape)
    if name == "bn.running_var":
        return rng.uniform(0.02, 0.05, shape)
    if name == "theta.weight":
        return _weight("phi.weight", shape) + 0.1 * rng.normal(size=shape)
    if name.endswith("bias") or name.startswith("bn"):
        return 0.5 * rng.normal(size=shape)
    return rng.normal(size=shape) / np.sqrt(shape[-1])


def _finding(lens: _Lens, answers: list[Answer]) -> Finding:
    """What the answers to specs of one pairwise function are."""
    spec = answers[0].asked
    finding = Finding(spec.pairwise, spec.ndim, answers)
    given = {a.asked: a.z for a in answers if a.z is not None}
    if not given:
        return finding
    asked_for = {name: _own(name, spec.pairwise, spec.ndim) for name in DIALECTS}
    own = {name: s for name, s in asked_for.items() if s is not None and s in given}
    finding.own = tuple(own)
    finding.exact = tuple(name for name, s in own.items() if lens.ratio(given[s], s) <= 1)
    rules = {(s.normalization, s.scale, s.subsample, s.subsample_at) for s in given}
    finding.several = len(rules) > 1
    explained = {spec: _explanations(lens, spec, z) for spec, z in given.items()}
    for name in (ASKED, *DIALECTS):
        if distance := _distance(lens, name, given, explained):
            finding.distances[name] = distance
    return finding


def _explanations(lens: _Lens, spec: NonLocalSpec, z: np.ndarray) -> list[NonLocalSpec]:
    """The specs that z answers: dialects, or else any combination of rules."""
    for candidates in (_dialects, _combinations):
        near = lens.nearest(z, candidates(spec))
        if found := [candidate for candidate in near if lens.ratio(z, candidate) <= 1]:
            return found
    return []


@cache
def _dialects(spec: NonLocalSpec) -> list[NonLocalSpec]:
    every = (_forms(name, spec) for name in DIALECTS)
    return list(dict.fromkeys(itertools.chain.from_iterable(every)))


@cache
def _forms(name: str, spec: NonLocalSpec) -> list[NonLocalSpec]:
    """The dialect, its user's choices made as in the spec or as its own, with the spec's weights.

    Its other pairwise functions are among them: a backend need not heed the one asked for.
    """
    if name == ASKED:
        return [spec]
    forms = []
    for pairwise in PAIRWISE:
        own = _own(name, pairwise, spec.ndim)
        if own is None:
            continue
        choices = [{getattr(own, key), getattr(spec, key)} for key in (*_OPTIONAL, "subsample")]
        for bias, pair_bias, batch_norm, subsample in itertools.product(*choices):
            if pair_bias and pairwise != "concatenation":
                continue
            chosen = dict(
                zip(
                    (*_OPTIONAL, "subsample"), (bias, pair_bias, batch_norm, subsample), strict=True
                )
            )
            forms.append(_plain(**own.arguments() | chosen))
    return [form for form in dict.fromkeys(forms) if _has_weights(form, spec)]


def _has_weights(candidate: NonLocalSpec, spec: NonLocalSpec) -> bool:
    return weight_shapes(candidate).keys() <= weight_shapes(spec).keys()


@cache
def _combinations(spec: NonLocalSpec) -> list[NonLocalSpec]:
    """Every combination of the rules with the spec's weights, or some of them."""
    return [candidate for candidate in _grid(spec.ndim) if _has_weights(candidate, spec)]


@cache
def _grid(ndim: int) -> list[NonLocalSpec]:
    rules = {
        "pairwise": PAIRWISE,
        "normalization": NORMALIZATIONS,
        "scale": tuple(_SCALES.values()),
        "subsample": (None, *_WINDOWS[ndim]),
        "subsample_at": SUBSAMPLE_AT,
        "extent": EXTENTS,
        "eps": _EPS,
        **dict.fromkeys(_OPTIONAL, (False, True)),
    }
    return list(dict.fromkeys(_varied(NonLocalSpec(CHANNELS, INNER, ndim), rules)))


def _varied(spec: NonLocalSpec, rules: dict[str, tuple]) -> Iterator[NonLocalSpec]:
    """The spec with every combination of these rules that there is."""
    for values in itertools.product(*rules.values()):
        with contextlib.suppress(ValueError):
            yield _plain(**spec.arguments() | dict(zip(rules, values, strict=True)))


def _distance(
    lens: _Lens,
    name: str,
    given: dict[NonLocalSpec, np.ndarray],
    explained: dict[NonLocalSpec, list[NonLocalSpec]],
) -> Distance | None:
    """How far the answers are from a dialect, if it has anything with these weights."""
    changes: dict[str, None] = {}
    pairwise: dict[str, None] = {}
    ratio = 0.0
    for spec, z in given.items():
        forms = _forms(name, spec)
        if not forms:
            return None
        ratio = max(ratio, lens.ratio(z, lens.nearest(z, forms)[0]))
        pairs = [(form, e) for form in forms for e in explained[spec]]
        if pairs:
            form, e = min(
                pairs,
                key=lambda p: (
                    len(_changes(*p)),
                    p[0].pairwise != p[1].pairwise,
                    p[1].pairwise != spec.pairwise,
                ),
            )
            changes |= dict.fromkeys(_changes(form, e))
            pairwise |= {e.pairwise: None}
    if not all(explained.values()):
        return Distance(None, ratio, ())
    return Distance(tuple(changes), ratio, tuple(pairwise))


def _changes(form: NonLocalSpec, computed: NonLocalSpec) -> tuple[str, ...]:
    """The rules in which what is computed differs from a dialect's form."""
    was, is_ = form.arguments(), computed.arguments()
    if not computed.subsample:
        del was["subsample_at"]  # it has no meaning
    return tuple(_rule(key, is_[key]) for key in was if was[key] != is_[key])


def _rule(key: str, value: object) -> str:
    names = {scale: text for text, scale in _SCALES.items()}
    return f"{key}={names[value] if key == 'scale' else repr(value)}"


def _conclude(found: Identification) -> None:
    """Say what the findings amount to, and each finding in words."""
    answered = [f for f in found.findings if f.answered]
    if not answered:
        found.sentence = "answers none of the specs that it is asked"
    elif all(f.as_asked for f in answered) and any(f.several for f in answered):
        _conclude_follows(found, answered)
    elif right := [n for n in DIALECTS if all(f.explained(n) for f in answered)]:
        _conclude_dialect(found, answered, right)
    else:
        _conclude_nearest(found, answered)
    for finding in answered:
        finding.text = _text(finding, found)


def _conclude_follows(found: Identification, answered: list[Finding]) -> None:
    has = {
        name: [name in f.exact for f in answered if _own(name, f.pairwise, f.ndim)]
        for name in DIALECTS
    }
    found.follows = True
    found.dialects = tuple(name for name, exact in has.items() if exact and all(exact))
    partly = [name for name, exact in has.items() if any(exact) and not all(exact)]
    supported = [_and(found.dialects)] if found.dialects else []
    supported += [f"parts of {_and(partly)}"] if partly else []
    found.sentence = f"computes what the spec asks for; it has {', and '.join(supported)}"
    found.ratio = max(f.distances[ASKED].ratio for f in answered)


def _conclude_dialect(found: Identification, answered: list[Finding], right: list[str]) -> None:
    found.dialects = tuple([n for n in right if any(n in f.exact for f in answered)] or right)
    first = found.dialects[0]
    by = {pairwise for f in answered for pairwise in f.distances[first].pairwise}
    alone = next(iter(by)) if len(by) == 1 and len(answered) > 1 else ""
    ignored = alone and any(f.pairwise != alone for f in answered)
    found.sentence = f"computes dialect {_and(found.dialects, 'or')}"
    found.sentence += f", {alone}" if ignored else ""
    if not all(f.as_asked for f in answered):
        found.sentence += ", whatever other rules the spec asks for"
    found.ratio = max(f.distances[first].ratio for f in answered)


def _conclude_nearest(found: Identification, answered: list[Finding]) -> None:
    """The nearest is what the fewest rules tell apart, then what the least error does."""
    names = [n for n in (ASKED, *DIALECTS) if all(n in f.distances for f in answered)]

    def far(name: str) -> list[float]:
        return [sum(column) for column in zip(*(_far(f, name) for f in answered), strict=True)]

    first = min(names, key=far)
    wrong: dict[str, dict[str, None]] = {}  # what it is -> where
    for f in answered:
        if not f.explained(first):
            wrong.setdefault(_label(first, f.distances[first]), {})[f.pairwise] = None
    everywhere = len(wrong) == 1 and {f.pairwise for f in answered} == {*next(iter(wrong.values()))}
    parts = [
        text if everywhere else f"{text} for {_and(list(where))}" for text, where in wrong.items()
    ]
    found.nearest = first
    found.ratio = max(f.distances[first].ratio for f in answered)
    found.sentence = (
        f"computes no known dialect; the nearest is {'; '.join(parts)} "
        f"(error / bound of {first} itself: {found.ratio:.2g})"
    )


def _far(finding: Finding, name: str) -> tuple[int, int, int, float]:
    """How far a finding's answers are from a dialect, what matters most first.

    Whether no rules explain them, how many rules differ, whether it was not asked for, and ratio.
    """
    distance = finding.distances[name]
    changes = distance.changes
    foreign = name not in (ASKED, *finding.own)
    return int(changes is None), len(changes or ()), int(foreign), distance.ratio


def _text(finding: Finding, found: Identification) -> str:
    """What the backend computes, in words."""
    if found.follows:
        return f"{ASKED}: {', '.join(finding.exact)}"
    if finding.dialects:
        by = finding.distances[finding.dialects[0]].pairwise
        heeded = by == (finding.pairwise,)
        return ", ".join(finding.dialects) + ("" if heeded else f" ({', '.join(by)})")
    nearest = min(
        finding.distances,
        key=lambda n: (*_far(finding, n)[:2], n != found.nearest, finding.distances[n].ratio),
    )
    distance = finding.distances[nearest]
    if distance.changes == ():
        return nearest
    return f"{_label(nearest, distance)} ({nearest}: ratio {distance.ratio:.2g})"


def _label(name: str, distance: Distance) -> str:
    """A dialect with the rules that differ."""
    if distance.changes is None:
        return f"{name}, but for something that is no rule"
    return f"{name} with {', '.join(distance.changes)}"


def _and(names: tuple[str, ...] | list[str], word: str = "and") -> str:
    """The names as in: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last
