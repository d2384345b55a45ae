"""Judge the outputs that an implementation has computed from the test vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

import nlcore
from nlcore_conformance.backend.protocol import CannotRun
from nlcore_conformance.checks.comparison import Judgement, float64, judged
from nlcore_conformance.vectors.examples import DTYPES
from nlcore_conformance.vectors.export import MANIFEST, Given, Tensors, made

#: The fields of a vector's entry in the manifest that judging reads.
_ENTRY = ("name", "clauses", "file", "dtypes", "outputs")


@dataclass(frozen=True)
class VectorResult:
    """How the outputs for one vector in one dtype compare with the expected ones."""

    name: str
    clauses: tuple[str, ...]
    dtype: str
    outputs: tuple[str, ...]  # all that the vector has
    judgements: list[Judgement] = field(default_factory=list)  # of the outputs that were computed
    error: str = ""  # why a file of outputs could not be judged

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
        """One of "pass", "FAIL" and "not covered"."""
        if not self.covered:
            return "not covered"
        return "FAIL" if self.ratio > 1 else "pass"


def check(folder: Path, vectors: Path | None = None) -> list[VectorResult]:
    """Judge the outputs in `folder`, one `<vector>.<dtype>.safetensors` for each that was computed.

    A file has "z" and, where they were computed, "dx" and the weights' gradients, each in that
    dtype. `vectors` is a folder that `export` wrote; without one the vectors are made again in
    memory.

    Raises
    ------
    CannotRun
        `folder` is missing, has no outputs, or has files of no vector. `vectors` was not written by
        `export`, or is of another version of the specification.
    """
    if not folder.is_dir():
        raise CannotRun(f"expected a folder of outputs; received {folder}")
    files = {path.name: path for path in sorted(folder.glob("*.safetensors"))}
    if not files:
        raise CannotRun(f"expected files named <vector>.<dtype>.safetensors; {folder} has none")
    results = []
    for entry, make in made() if vectors is None else _read(vectors):
        paths = {d: files.pop(f"{entry['name']}.{d}.safetensors", None) for d in entry["dtypes"]}
        tensors = make() if any(paths.values()) else {}
        results += [vector_result(entry, tensors, dtype, path) for dtype, path in paths.items()]
    if files:
        raise CannotRun(
            "expected files named <vector>.<dtype>.safetensors, with a vector and one of its "
            f"dtypes as the manifest has them; received {', '.join(files)} in {folder}"
        )
    return results


def conforms(results: list[VectorResult]) -> bool:
    """Whether nothing failed, and something was judged."""
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
    """The values expected and received, at the worst element of the worst output."""
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
    """The worst ratio, marked where it fails."""
    if not result.covered:
        return Text("")
    failed = result.verdict == "FAIL"
    text = f"{result.ratio:.3g}"
    return Text(f"FAIL {text}" if failed else text, style="bold red" if failed else "green")


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
    """The tensors of a vector's file. Raises CannotRun if one that judging needs is missing."""
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
    """A file's tensors by name. Raises ValueError if it cannot be read."""
    import ml_dtypes  # noqa: F401  # so that NumPy knows "bfloat16" by name
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (
        SafetensorError,
        OSError,
        AttributeError,
    ) as error:  # AttributeError: NumPy lacks the dtype
        raise ValueError(f"cannot be read: {error!r}") from error


def vector_result(
    entry: dict[str, Any], tensors: Tensors, dtype: str, path: Path | None
) -> VectorResult:
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
    """The worst element of one output, by the manifest's rules for NaN and infinity too."""
    special = ~np.isfinite(expected) & (bound == 0)  # NaN or infinity is expected
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
