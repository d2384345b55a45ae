"""Test vectors for implementations that are not in Python: export them, judge a folder of outputs.

The format is in docs/vectors.md, the problems are in `nlcore_conformance.vectors.cases`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

import nlcore
from nlcore.weights import RUNNING
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_conformance.checks.comparison import Judgement, float64, judged
from nlcore_conformance.problems.case import Problem, dtype_named, problem
from nlcore_conformance.backend.protocol import CannotRun
from nlcore_conformance.vectors.cases import DTYPES, Vector, vectors

MANIFEST = "manifest.json"
#: How tensors are named, in the manifest's words.
TENSORS = {
    "input/x": "x (B, C, *positions)",
    "input/dz": "the gradient at z, for vectors whose outputs include gradients",
    "weight/NAME": "each weight",
    "expected/OUTPUT": "float64: z, dx, and by the weight's name each weight's gradient",
    "bound/DTYPE/OUTPUT": "on the absolute error of an output computed in DTYPE",
}
RULES = [
    "An element is right where |received - expected| <= bound.",
    "Where the bound is infinite, the element is not judged.",
    "Where expected is NaN and the bound 0, the element must be NaN.",
    "Where expected is infinite and the bound 0, the element must be infinite or NaN.",
    "Inputs are float32 and exact in every dtype of the vector.",
]
#: What judging reads of a vector's entry in the manifest.
_ENTRY = ("name", "clauses", "file", "dtypes", "outputs")
#: Significand bits of a bound: few, so that no last bit of a BLAS sum is seen in the files.
_BOUND_BITS = 8

Tensors = dict[str, np.ndarray]
#: A vector's entry in the manifest, and what makes, or reads, its tensors.
Given = tuple[dict[str, Any], Callable[[], Tensors]]


@dataclass(frozen=True)
class VectorResult:
    """How the outputs for one vector in one dtype compare with the expected ones."""

    name: str
    clauses: tuple[str, ...]
    dtype: str
    outputs: tuple[str, ...]  # all that the vector has
    judgements: list[Judgement] = field(default_factory=list)  # of those that there were
    error: str = ""  # why nothing could be judged, where there was a file

    @property
    def covered(self) -> bool:
        """Whether there were outputs."""
        return bool(self.judgements or self.error)

    @property
    def ratio(self) -> float:
        """The worst error / bound."""
        return np.inf if self.error else max((j.ratio for j in self.judgements), default=0.0)

    @property
    def verdict(self) -> str:
        if not self.covered:
            return "not covered"
        return "FAIL" if self.ratio > 1 else "pass"


def export(folder: Path) -> list[Path]:
    """Write the manifest and one safetensors file a vector; returns their paths.

    Two exports by one version are equal byte for byte.
    """
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    entries, paths = [], []
    for entry, make in _made():
        entries.append(entry)
        paths.append(folder / entry["file"])
        tensors = make()
        # save takes the bytes as they lie in memory
        contiguous = {name: np.require(tensors[name], requirements="C") for name in sorted(tensors)}
        paths[-1].write_bytes(save(contiguous))
    manifest = {
        "spec_version": nlcore.SPEC_VERSION,
        "tensors": TENSORS,
        "rules": RULES,
        "vectors": entries,
    }
    paths.append(folder / MANIFEST)
    paths[-1].write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return paths


def check(folder: Path, vectors: Path | None = None) -> list[VectorResult]:
    """Judge the outputs in `folder`, one `<vector>.<dtype>.safetensors` for each that was computed.

    A file holds "z" and, where they were computed, "dx" and the weights' gradients, each in that
    dtype. `vectors` is a folder that `export` wrote; without one they are made again in memory.

    Raises
    ------
    CannotRun
        A folder that is missing, that holds no outputs, or whose files belong to no vector;
        `vectors` that `export` did not write, or of another version of the specification.
    """
    if not folder.is_dir():
        raise CannotRun(f"expected a folder of outputs; received {folder}")
    files = {path.name: path for path in sorted(folder.glob("*.safetensors"))}
    if not files:
        raise CannotRun(f"expected files named <vector>.<dtype>.safetensors; {folder} has none")
    results = []
    for entry, make in _made() if vectors is None else _read(vectors):
        paths = {d: files.pop(f"{entry['name']}.{d}.safetensors", None) for d in entry["dtypes"]}
        tensors = make() if any(paths.values()) else {}
        results += [_judged(entry, tensors, dtype, path) for dtype, path in paths.items()]
    if files:
        raise CannotRun(
            "expected files named <vector>.<dtype>.safetensors, with a vector and one of its "
            f"dtypes as the manifest has them; received {', '.join(files)} in {folder}"
        )
    return results


def conforms(results: list[VectorResult]) -> bool:
    """Nothing failed, and something was judged."""
    return any(r.covered for r in results) and not any(r.verdict == "FAIL" for r in results)


def table(results: list[VectorResult]) -> Table:
    """Vector, clauses, how many of its outputs were judged, and the worst ratio in each dtype."""
    dtypes = [d for d in DTYPES["bfloat16"] if any(r.dtype == d and r.covered for r in results)]
    by_name: dict[str, dict[str, VectorResult]] = {}
    for result in results:
        by_name.setdefault(result.name, {})[result.dtype] = result
    out = Table(title=f"nlcore test vectors, specification {nlcore.SPEC_VERSION}")
    out.add_column("vector", no_wrap=True)
    out.add_column("clauses NL-")
    out.add_column("outputs", justify="right")
    for dtype in dtypes:
        out.add_column(dtype, justify="right")
    for name, row in by_name.items():
        covered = [r for r in row.values() if r.covered]
        given, wanted = (
            sum(len(r.judgements) for r in covered),
            sum(len(r.outputs) for r in covered),
        )
        outputs = f"{given} of {wanted}" if covered else "not covered"
        cells = [_cell(row[d]) if d in row else Text("") for d in dtypes]
        clauses = (c.removeprefix("NL-") for c in next(iter(row.values())).clauses)
        out.add_row(name, ", ".join(clauses), outputs, *cells)
    all_covered = sum(any(r.covered for r in row.values()) for row in by_name.values())
    out.caption = f"worst error / bound; {all_covered} of {len(by_name)} vectors covered"
    return out


def failure(result: VectorResult) -> str:
    """What was expected and what came, at the worst element of the worst output."""
    head = f"FAIL {result.name} in {result.dtype} ({', '.join(result.clauses)})"
    if result.error:
        return f"{head}\n  {result.error}"
    worst = max(result.judgements, key=lambda j: j.ratio)
    if worst.note:
        return f"{head}\n  {worst.output}: {worst.note}"
    place = f"{worst.output}{list(worst.index)}"
    return (
        f"{head}\n  expected  {place} = {worst.expected!r}\n  received  {place} = "
        f"{worst.received!r}\n  bound     {worst.bound:.3g}; error / bound = {worst.ratio:.3g}"
    )


def _cell(result: VectorResult) -> Text:
    if not result.covered:
        return Text("")
    failed = result.verdict == "FAIL"
    text = f"{result.ratio:.3g}"
    return Text(f"FAIL {text}" if failed else text, style="bold red" if failed else "green")


def _made() -> Iterator[Given]:
    """The vectors of this version."""
    for vector in vectors():
        asked = _rounded(vector)
        outputs = ["z"]
        if np.isfinite(asked.x).all():  # the specification has no gradients elsewhere
            outputs += ["dx", *(name for name in asked.weights if name not in RUNNING)]
        entry = {
            "name": vector.name,
            "about": vector.about,
            "clauses": list(vector.clauses),
            "file": f"{vector.name}.safetensors",
            "spec": asked.spec.arguments(),
            "training": asked.training,
            "dtypes": list(vector.dtypes),
            "weights": list(asked.weights),
            "outputs": outputs,
        }
        yield entry, partial(_tensors, vector, asked)


def _read(folder: Path) -> Iterator[Given]:
    """The vectors that `export` wrote to a folder."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["spec_version"]
        entries = [{key: entry[key] for key in _ENTRY} for entry in manifest["vectors"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CannotRun(
            f"expected a folder with {MANIFEST}, as `vectors export` writes it; received {folder}: "
            f"{error!r}"
        ) from error
    if version != nlcore.SPEC_VERSION:
        raise CannotRun(
            f"expected vectors of specification {nlcore.SPEC_VERSION}; {folder} has those of "
            f"{version}"
        )
    for entry in entries:
        yield entry, partial(_vector, folder / entry["file"], entry)


def _vector(path: Path, entry: dict[str, Any]) -> Tensors:
    """The tensors of a vector's file, with those that outputs are judged by."""
    try:
        tensors = _load(path)
    except ValueError as error:
        raise CannotRun(f"vector {entry['name']} {error}") from error
    judged_by = {f"expected/{output}" for output in entry["outputs"]} | {
        f"bound/{dtype}/{output}" for dtype in entry["dtypes"] for output in entry["outputs"]
    }
    if missing := judged_by - tensors.keys():
        raise CannotRun(f"expected {', '.join(sorted(missing))} in {path}; it has none")
    return tensors


def _load(path: Path) -> Tensors:
    """A file's tensors; a ValueError where it cannot be read."""
    import ml_dtypes  # noqa: F401  # safetensors asks NumPy for "bfloat16" by name
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, AttributeError) as error:  # the last: NumPy has no such dtype
        raise ValueError(f"cannot be read: {error!r}") from error


def _rounded(vector: Vector) -> Problem:
    """The problem, its inputs rounded to what every dtype of the vector holds; in float64."""
    made = problem(vector.case)
    weights = {name: np.asarray(w, np.float64) for name, w in made.weights.items()}
    x, dz = (np.asarray(a, np.float64) for a in (made.x, made.dz))
    made = vector.change(replace(made, weights=weights, x=x, dz=dz))

    def rounded(array: np.ndarray) -> np.ndarray:
        for dtype in reversed(vector.dtypes):
            array = array.astype(dtype_named(dtype))
        return array.astype(np.float64)

    weights = {name: rounded(w) for name, w in made.weights.items()}
    return replace(made, weights=weights, x=rounded(made.x), dz=rounded(made.dz))


def _tensors(vector: Vector, asked: Problem) -> Tensors:
    """All that the vector's file holds."""
    spec, weights, x, training = asked.spec, asked.weights, asked.x, asked.training
    z = nlcore.block(spec, weights, x, training)
    expected = {"z": z}
    inputs = {"input/x": x, **{f"weight/{name}": w for name, w in weights.items()}}
    finite = bool(np.isfinite(x).all())
    if finite:
        inputs["input/dz"] = asked.dz
        dx, dweights = nlcore.block_vjp(spec, weights, x, asked.dz, training)
        expected |= {"dx": dx, **dweights}
    else:
        infinite = np.isinf(x).any()
        x = np.where(np.isfinite(x), x, np.nan)  # NaN marks what depends on it
        sees = np.isnan(nlcore.block(spec, weights, x, training))
        if infinite:  # z is infinite or NaN there, either being right (NL-11.3)
            expected["z"] = np.where(sees, np.inf, z)
    tensors = {name: np.asarray(a, np.float32) for name, a in inputs.items()}
    tensors |= {f"expected/{output}": value for output, value in expected.items()}
    for dtype in vector.dtypes:
        dz = asked.dz if finite else None
        bounds = block_bounds(spec, weights, x, dz, training, dtype, asked.independent)
        if "NL-10.4" in vector.clauses:  # z = x, to the bit
            bounds["z"] = np.where(np.isfinite(bounds["z"]), 0.0, np.inf)
        if not finite:
            bounds["z"] = np.where(sees, 0.0, bounds["z"])
        tensors |= {f"bound/{dtype}/{output}": _stored(bounds[output]) for output in expected}
    return tensors


def _stored(bound: np.ndarray) -> np.ndarray:
    """float32 of _BOUND_BITS significand bits, not below the bound; infinite beyond float32.

    A bound is first raised by 2^-20, so that one that stands exactly at such a number does not
    step to the next with a machine's last bit.
    """
    least = np.where(bound > 0, np.maximum(bound, np.finfo(np.float32).tiny), 0.0)
    significand, exponent = np.frexp(least * (1 + 2.0**-20))
    steps = np.ceil(significand * 2**_BOUND_BITS)
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp(steps, exponent - _BOUND_BITS), np.float32)


def _judged(entry: dict[str, Any], tensors: Tensors, dtype: str, path: Path | None) -> VectorResult:
    outputs = tuple(entry["outputs"])
    result = VectorResult(entry["name"], tuple(entry["clauses"]), dtype, outputs)
    if path is None:
        return result
    try:
        received = _load(path)
    except ValueError as error:
        return replace(result, error=str(error))
    if "z" not in received or not received.keys() <= set(outputs):
        others = f", and any of {', '.join(outputs[1:])}" if outputs[1:] else ""
        names = ", ".join(sorted(received)) or "nothing"
        return replace(result, error=f"expected z{others}; received {names}")
    for output in (o for o in outputs if o in received):
        expected, bound = tensors[f"expected/{output}"], tensors[f"bound/{dtype}/{output}"]
        result.judgements.append(_judgement(output, received[output], expected, bound, dtype))
    return result


def _judgement(
    output: str, received: np.ndarray, expected: np.ndarray, bound: np.ndarray, dtype: str
) -> Judgement:
    special = ~np.isfinite(expected) & (bound == 0)  # NaN or infinity is asked for
    right, uncounted = np.where(special, 0.0, expected), np.where(special, np.inf, bound)
    judgement = judged(output, received, right, uncounted.astype(np.float64), dtype)
    if judgement.note:
        return judgement
    got = float64(received)
    judgement = replace(judgement, unpredictable=judgement.unpredictable - int(special.sum()))
    lost = np.argwhere(special & np.where(np.isnan(expected), ~np.isnan(got), np.isfinite(got)))
    if not len(lost):
        return judgement
    index = tuple(int(k) for k in lost[0])
    wanted, came = float(expected[index]), float(got[index])
    return replace(judgement, ratio=np.inf, index=index, expected=wanted, received=came, bound=0.0)
