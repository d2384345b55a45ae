"""The trials that a run of backends judges, and what is expected in each, computed once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore.weights import RUNNING
from nlcore_conformance.backend.protocol import Backend, Weights, supports
from nlcore_conformance.backend.resolve import load
from nlcore_conformance.checks import check as check_module
from nlcore_conformance.checks.catalogue import CHECKS
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.judging import attempt
from nlcore_conformance.problems import case as case_module
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.progress import progress
from nlcore_conformance.run.search import PROFILES, drawn


@dataclass(frozen=True, eq=False)
class Trial:
    """One case of one check, which the backend of this name is asked."""

    backend: str
    check: Check
    case: Case

    def judge(self, backend: Backend) -> None:
        """Raise `Failed` unless the backend passes, and NotImplementedError if it refuses."""
        why = supports(backend, self.case.spec, self.case.dtype)
        if why is not True:
            raise NotImplementedError(why)
        attempt(self.check, backend, self.case)


class _Nothing:
    """A backend's stand-in, which answers without computing: z = x, and weights of 0."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def initial(self, spec: NonLocalSpec) -> dict[str, np.ndarray]:
        return {n: np.zeros(shape, np.float32) for n, shape in weight_shapes(spec).items()}

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        return x

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return dz, {name: np.zeros_like(w) for name, w in weights.items() if name not in RUNNING}


def trials(backends: list[str], profile: str, seed: int, console: Any) -> list[Trial]:
    """The trials of a run of each backend, with what is expected in each computed and kept.

    A process that is forked from this one has it too. The backends compute nothing here, because
    frameworks start threads that a forked process does not have.
    """
    _keep_everything()
    found = []
    with progress(console) as tell:
        for name in backends:
            backend = load(name)
            for done, check in enumerate(CHECKS):
                tell(f"{name}: {check.name}", done, len(CHECKS))
                for case in drawn(check, backend, PROFILES[profile], seed):
                    check.judge(_Nothing(backend), case)
                    found.append(Trial(name, check, case))
    return found


def _keep_everything() -> None:
    """Let the suite's caches of problems and of expected values grow without limit."""
    for module, name in (
        (check_module, "expected_of"),
        (check_module, "_with_nan"),
        (case_module, "_made"),
    ):
        setattr(module, name, functools.cache(getattr(module, name).__wrapped__))


def in_turns(found: Sequence[Trial], seconds: dict[int, float]) -> list[int]:
    """The numbers of the trials that take some `seconds`, in an order that soon rejects a mutant.

    The checks of all backends take turns, and each begins with its quickest trial.
    """
    turns: dict[tuple[str, str], int] = {}
    keys = {}
    for number in sorted(seconds, key=lambda n: seconds[n]):
        rule = found[number].backend, found[number].check.name
        turns[rule] = turns.get(rule, 0) + 1
        keys[number] = turns[rule], seconds[number]
    return sorted(keys, key=lambda n: keys[n])
