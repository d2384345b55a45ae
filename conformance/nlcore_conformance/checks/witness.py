"""A backend that remembers what it was asked, and what it answered."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.backend.protocol import Backend, Weights
from nlcore_conformance.problems.case import Case, Problem, problem


@dataclass
class Asked:
    """A question, and the answer.

    Attributes
    ----------
    answers : dict
        Output -> array, "z", or "dx" and the weights' names. Empty if there was no answer.
    """

    problem: Problem
    gradient: bool
    answers: dict[str, Any] = field(default_factory=dict)


class Witness:
    """The backend, with all that it was `asked`."""

    name: str

    def __init__(self, backend: Backend, case: Case) -> None:
        self._backend, self._like = backend, problem(case)
        self.asked: list[Asked] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        asked = self._note(spec, weights, x, np.zeros_like(x), training, gradient=False)
        z = self._backend.block(spec, weights, x, training)
        asked.answers = {"z": _copy(z)}
        return z

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> Any:
        asked = self._note(spec, weights, x, dz, training, gradient=True)
        answer = self._backend.block_vjp(spec, weights, x, dz, training)  # type: ignore[attr-defined]
        with contextlib.suppress(TypeError, ValueError):  # of another form
            dx, dweights = answer
            asked.answers = {name: _copy(d) for name, d in {"dx": dx, **dweights}.items()}
        return answer

    def _note(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool,
        gradient: bool,
    ) -> Asked:
        copies = {name: np.array(w) for name, w in weights.items()}  # a backend may change them
        question = replace(
            self._like, spec=spec, weights=copies, x=np.array(x), dz=np.array(dz), training=training
        )
        self.asked.append(Asked(question, gradient))
        return self.asked[-1]


def _copy(output: Any) -> Any:
    return output.copy() if isinstance(output, np.ndarray) else output
