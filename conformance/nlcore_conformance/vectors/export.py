"""Write the test vectors as files: a manifest, and one safetensors file for each problem.

docs/vectors.md describes the format, `nlcore_conformance.vectors.examples` has the problems.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import nlcore
from nlcore.weights import RUNNING
from nlcore_conformance.backend.formats import dtype_named
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_conformance.problems.case import Problem, problem
from nlcore_conformance.vectors.examples import Vector, vectors

MANIFEST = "manifest.json"
#: Names of tensors and their meaning, for the manifest.
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
#: Significand bits of a bound: few, so that the last bit of a BLAS sum does not change the files.
_BOUND_BITS = 8

Tensors = dict[str, np.ndarray]
#: A vector's entry in the manifest, and a function that makes or reads its tensors.
Given = tuple[dict[str, Any], Callable[[], Tensors]]


def export(folder: Path) -> list[Path]:
    """Write the manifest and one safetensors file for each vector; returns their paths.

    Two exports by one version are equal byte for byte.
    """
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    entries, paths = [], []
    for entry, make in made():
        entries.append(entry)
        paths.append(folder / entry["file"])
        tensors = make()
        # save ignores strides
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


def made() -> Iterator[Given]:
    """The vectors of this version, each computed when its function is called."""
    for vector in vectors():
        asked = _rounded(vector)
        outputs = ["z"]
        if np.isfinite(asked.x).all():  # the specification has no gradients of NaN and infinity
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


def _rounded(vector: Vector) -> Problem:
    """The problem in float64, its inputs rounded to numbers that every dtype of it holds."""
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
    """All tensors of the vector's file, by name."""
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
        x = np.where(np.isfinite(x), x, np.nan)  # NaN marks the outputs that depend on it
        sees = np.isnan(nlcore.block(spec, weights, x, training))
        if infinite:  # z may be infinite or NaN there (NL-11.3)
            expected["z"] = np.where(sees, np.inf, z)
    tensors = {name: np.asarray(a, np.float32) for name, a in inputs.items()}
    tensors |= {f"expected/{output}": value for output, value in expected.items()}
    for dtype in vector.dtypes:
        dz = asked.dz if finite else None
        bounds = block_bounds(
            spec,
            weights,
            x,
            dz,
            training=training,
            dtype=dtype,
            independent=asked.independent,
        )
        if "NL-10.4" in vector.clauses:  # z = x, to the bit
            bounds["z"] = np.where(np.isfinite(bounds["z"]), 0.0, np.inf)
        if not finite:
            bounds["z"] = np.where(sees, 0.0, bounds["z"])
        tensors |= {f"bound/{dtype}/{output}": stored_bound(bounds[output]) for output in expected}
    return tensors


def stored_bound(bound: np.ndarray) -> np.ndarray:
    """float32 of _BOUND_BITS significand bits, not below the bound; infinite beyond float32.

    A bound is first raised by the factor 1 + 2^-20. So a bound that is exactly such a number does
    not step to the next one where a machine's last bit differs.
    """
    least = np.where(bound > 0, np.maximum(bound, np.finfo(np.float32).tiny), 0.0)
    significand, exponent = np.frexp(least * (1 + 2.0**-20))
    steps = np.ceil(significand * 2**_BOUND_BITS)
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp(steps, exponent - _BOUND_BITS), np.float32)
