"""A failure as files: NAME.npz with the arrays of its smallest case, NAME.json with the rest.

Both are read without hypothesis, so that a failure can be judged again wherever NumPy is.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.spec import FLOATS
from nlcore_conformance.backend.protocol import Backend, CannotRun, accumulates, supports
from nlcore_conformance.checks import check as judges
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.comparison import (
    Broken,
    Judgement,
    expected,
    judge_forward,
    judge_gradient,
)
from nlcore_conformance.checks.judging import Failed, Failure, attempt, reproduction
from nlcore_conformance.checks.witness import Asked, Witness
from nlcore_conformance.document import dumps
from nlcore_conformance.problems.case import Case, Problem, laid_out, problem
from nlcore_conformance.run.environment import environment

_NOTE = (
    "x, dz and the weights, under their names, are those of the check's last question to the "
    "backend; expected is the reference's output, bound the bound on its error, received the "
    "backend's; bfloat16 is kept as float32, which holds its values exactly"
)


@dataclass(frozen=True, eq=False)
class Recorded:
    """A failure read back."""

    backend: str  # the name that was asked for
    check: Check
    case: Case
    arrays: dict[str, np.ndarray] | None  # None if there is no .npz file beside the .json file


def possible(folder: Path) -> None:
    """Check that failures can be written into the folder, which `write` makes if there is none.

    Raises
    ------
    CannotRun
        The folder, or one above it, is a file.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise CannotRun(f"failures need a folder to be written into; received the file {there}")


def write(folder: Path, name: str, backend: Backend, check: Check, failure: Failure) -> Path:
    """Write the failure of a backend that was asked for by `name`; returns the JSON file.

    Raises
    ------
    OSError
        The folder cannot be made, or written to.
    """
    witness = Witness(backend, failure.case)
    with contextlib.suppress(Failed):
        attempt(check, witness, failure.case)
    last = witness.asked[-1] if witness.asked else Asked(problem(failure.case), False)
    p, gradient = last.problem, last.gradient
    output = failure.judgement.output if failure.judgement else "dx" if gradient else "z"
    right = expected(p, accumulates(backend, p.dtype), gradient)
    arrays = {"x": p.x, **p.weights, **({"dz": p.dz} if gradient else {})}
    if output in right.values:  # and not a new block's weight
        arrays |= {"expected": right.values[output], "bound": right.bounds[output]}
    received = last.answers.get(output)
    if isinstance(received, (np.ndarray, np.generic)) and received.dtype.name in FLOATS:
        arrays["received"] = np.asarray(received)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_slug(name)}-{_slug(check.name)}.json"
    stored: dict[str, Any] = {n: _kept(a) for n, a in arrays.items()}
    np.savez_compressed(file.with_suffix(".npz"), **stored)
    fields = {
        "backend": name,
        "check": check.name,
        "clause": check.clause,
        "case": failure.case.to_json(),
        "output": output,
        "judgement": failure.judgement and asdict(failure.judgement),
        "error": failure.error,
        "stage": failure.stage,
        "replay": reproduction(name, check.name, failure.case),
        "arrays": {
            "file": file.with_suffix(".npz").name,
            "spec": p.spec.arguments(),
            "training": p.training,
            "note": _NOTE,
        },
        "environment": environment(backend),
    }
    file.write_text(dumps(fields), encoding="utf-8")
    return file


def read(case: str) -> Recorded:
    """A failure, from the JSON in its printed line or from the path of its JSON file.

    Raises
    ------
    ValueError
        It is neither. KeyError and TypeError are raised for JSON of another form.
    OSError
        The file cannot be read.
    """
    inline = case.lstrip().startswith("{")
    fields = json.loads(case if inline else Path(case).read_text(encoding="utf-8"))
    check, problem_ = named_check(fields["check"]), Case.from_json(fields["case"])
    beside = None if inline else Path(case).with_suffix(".npz")
    arrays = None
    if beside is not None and beside.exists():
        with np.load(beside) as stored:
            arrays = dict(stored)
    return Recorded(fields["backend"], check, problem_, arrays)


def replay(recorded: Recorded, backend: Backend) -> tuple[list[Judgement], str]:
    """Judge a failure again; returns the judgements, and the error if there was no answer.

    The checks of rules and gradients use the recorded arrays. Every other check makes its problems
    from the case.

    Raises
    ------
    NotImplementedError
        The backend does not support the case.
    """
    case = recorded.case
    if (why := supports(backend, case.spec, case.dtype)) is not True:
        raise NotImplementedError(why)
    on_arrays = _ON_ARRAYS.get(recorded.check.judge)
    try:
        if recorded.arrays is not None and on_arrays:
            return on_arrays(backend, _problem(case, recorded.arrays)), ""
        return recorded.check.judge(backend, case), ""
    except Broken as error:
        return [], str(error)


_ON_ARRAYS: dict[Callable, Callable[[Backend, Problem], list[Judgement]]] = {
    judges.forward: judge_forward,
    judges.gradient: judge_gradient,
}


def _problem(case: Case, arrays: dict[str, np.ndarray]) -> Problem:
    """The case's problem with the recorded arrays."""
    p = problem(case)
    dtype = p.dz.dtype
    kept = {name: array.astype(dtype) for name, array in arrays.items()}
    weights = {name: kept[name] for name in p.weights}
    return replace(p, weights=weights, x=laid_out(kept["x"], case.layout), dz=kept.get("dz", p.dz))


def _kept(array: np.ndarray) -> np.ndarray:
    """The array in a dtype that .npz files have, contiguous in this machine's byte order."""
    name = "float32" if array.dtype.name == "bfloat16" else array.dtype.name
    return np.ascontiguousarray(array.astype(name)).reshape(array.shape)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
