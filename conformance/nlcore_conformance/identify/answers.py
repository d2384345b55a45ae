"""A backend's answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.backend.protocol import Backend, supports
from nlcore_conformance.checks.comparison import Broken, asked, judged
from nlcore_conformance.identify.rules import Rule
from nlcore_conformance.identify.trials import Trial


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
    trial : Trial
        The problem that was asked.
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
    trial: Trial
    z: np.ndarray | None = None
    why: str = ""
    refused: bool = False
    varied: set[str] = field(default_factory=set)
    computed: NonLocalSpec | None = None
    ratio: float = np.inf
    could: dict[str, tuple[str, ...]] = field(default_factory=dict)
    irregular: float = 0.0

    @property
    def spec(self) -> NonLocalSpec:
        """`computed`, of an answer that some spec explains."""
        assert self.computed is not None
        return self.computed

    def heeds(self, rule: Rule) -> bool:
        """Whether the result may be that of the rule as asked, or the rule has no meaning."""
        return self.may_be(rule, rule.read(self.asked))

    def may_be(self, rule: Rule, values: tuple[str, ...]) -> bool:
        """Whether the result may be that of one of the values, or there is none to compare."""
        could = self.could.get(rule.name, ())
        return not could or not values or not {*values}.isdisjoint(could)


def answer(backend: Backend, spec: NonLocalSpec, trial: Trial) -> Answer:
    """The backend's result for the spec, or why there is none."""
    p = trial.problem(spec)
    own = {name: weight.copy() for name, weight in p.weights.items()}
    try:
        if (why := supports(backend, spec, trial.dtype)) is not True:
            return Answer(spec, trial, why=str(why), refused=True)
        z = asked(backend, replace(p, weights=own, x=p.x.copy()))
    except NotImplementedError as error:
        why = str(error) or "block raised NotImplementedError"
        return Answer(spec, trial, why=why, refused=True)
    except Broken as error:
        return Answer(spec, trial, why=str(error))
    form = judged("z", z, np.zeros(p.x.shape), np.full(p.x.shape, np.inf), trial.dtype)
    return Answer(spec, trial, why=form.note) if form.note else Answer(spec, trial, z)
