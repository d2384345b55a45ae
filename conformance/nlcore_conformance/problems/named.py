"""Named problems as cases. Random search rarely draws problems like them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from nlcore import NonLocalSpec
from nlcore.spec import PAIRWISE
from nlcore_conformance.problems.case import Case
from nlcore_conformance.problems.long_problems import Paths, around, at_length
from nlcore_conformance.problems.named_problem import Named, in_windows
from nlcore_conformance.problems.question import Question
from nlcore_conformance.problems.short_problems import short_problems
from nlcore_conformance.problems.templates import Allowed, Choice, Choices, Template

#: A template that a backend supports, its choices, and a spec of it.
_Example = tuple[Template, Choices, NonLocalSpec]


def problems(
    question: Question,
    allowed: Allowed,
    dtypes: tuple[str, ...],
    seed: int,
    paths: Paths = lambda spec, dtype: (),
) -> Iterator[Case]:
    """The named problems of a check, each with a spec drawn from the allowed templates.

    Parameters
    ----------
    question
        The check.
    allowed
        Templates of the specs that the check applies to and the backend supports.
    dtypes
        The backend's dtypes.
    seed
        The same seed gives the same problems.
    paths
        The backend's, see `nlcore_conformance.backend.protocol.paths`.
    """
    rng = np.random.default_rng([seed, zlib.crc32(question.name.encode())])
    examples = [(t, c, _example(t, c)) for t, c in allowed.items()]
    functions = dict.fromkeys(spec.pairwise for _, _, spec in examples)
    counts = {n for dtype in dtypes for _, _, spec in examples for n in paths(spec, dtype)}
    found = [*short_problems(question), *at_length(question, functions, seed)]
    # the functions of a backend may share a path, and have it in another dtype each
    turn = seed + sum(map(PAIRWISE.index, functions))
    found += around(counts, question, paths, dtypes, turn)
    for number, named in enumerate(found):
        fits = [e for e in examples if named.applies(e[2]) and _scales(named, e[1])]
        fitting = _preferred(named, fits)
        chosen = [d for d in named.dtypes if d in dtypes] if named.dtypes else []
        if not named.dtypes:
            turn = number + int(rng.integers(len(dtypes)))
            chosen = list(dict.fromkeys(dtypes[(turn + k) % len(dtypes)] for k in range(2)))
        for dtype in chosen if fitting else []:
            template, choices, _ = fitting[int(rng.integers(len(fitting)))]
            choice = _choice(named, choices, rng)
            # a rule that derives D from C gets the C that makes the wanted D
            factor = {"C/2": 2, "C/8": 8, "C": 1, "C/4": 4, "C/16": 16}.get(choice.inner)
            channels = factor * named.inner if factor else named.channels
            spec = template.spec(choice, channels, named.inner, named.value or 1, 2, 2)
            yield Case(
                spec=spec,
                batch=named.batch,
                positions=in_windows(spec, named.positions(spec)),
                dtype=dtype,
                data=named.data if named.data in question.data else "normal",
                seed=int(rng.integers(2**16)),
                training=question.training,
            )


def _example(template: Template, choices: Choices) -> NonLocalSpec:
    return template.spec(next(iter(choices.each())), 64, 24, 40, 2, 3)


def _preferred(named: Named, fitting: list[_Example]) -> list[_Example]:
    """Those of the templates that the problem prefers, as far as there are some."""
    for prefers in named.prefers:
        fitting = [e for e in fitting if prefers(e[2])] or fitting
    return fitting


def _scales(named: Named, choices: Choices) -> Sequence[str]:
    """The scales of the sign that the problem asks for."""
    if named.sign == 0:
        return choices.scales
    found = [name for name in choices.scales if (name == "other") == (named.sign < 0)]
    return found or (choices.scales if named.sign < 0 else ())


def _choice(named: Named, choices: Choices, rng: np.random.Generator) -> Choice:
    """A choice for the problem, which is free to set D or V where the problem is about it."""
    scales = _scales(named, choices)
    inners: Sequence[str] = choices.inners
    if "any" in inners and (named.inner > 64 or named.inner == named.channels):
        inners = ("any",)
    scale, inner = (options[int(rng.integers(len(options)))] for options in (scales, inners))
    value = "any" if named.value and "any" in choices.values else choices.values[0]
    return Choice(scale, inner, value, choices.eps[0])
