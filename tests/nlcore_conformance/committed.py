"""The committed test vectors, and outputs that a backend computes from them."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes  # noqa: F401  # names "bfloat16"
import numpy as np
from safetensors.numpy import load_file, save_file

from nlcore import NonLocalSpec

ROOT = Path(__file__).parents[2]


COMMITTED = ROOT / "conformance" / "vectors"


MANIFEST = json.loads((COMMITTED / "manifest.json").read_text(encoding="utf-8"))


ENTRIES = {entry["name"]: entry for entry in MANIFEST["vectors"]}


#: Clauses that no vector can show, and why.
NOT_SHOWN = {
    "NL-1.5": "a file has no memory layout",
    "NL-2.4": "a vector gives every field of its spec",
    "NL-8.3": "a vector is computed once, from statistics that it gives",
    "NL-10.2": "a vector's weights are right",
    "NL-10.3": "a vector is computed once",
    "NL-10.5": "a vector gives the weights",
    "NL-10.6": "a vector gives the weights",
    **{f"NL-12.{n}": "the bounds of every vector judge it" for n in range(1, 6)},
}


def compute(backend, folder: Path, entries, dtypes=None, gradients: bool = True) -> Path:
    """Write what the backend makes of the committed vectors, as another language would."""
    folder.mkdir(exist_ok=True)
    for entry in entries:
        tensors = load_file(COMMITTED / entry["file"])
        spec = NonLocalSpec(**entry["spec"])
        for dtype in entry["dtypes"] if dtypes is None else set(dtypes) & set(entry["dtypes"]):
            x = tensors["input/x"].astype(dtype)
            weights = {n: tensors[f"weight/{n}"].astype(dtype) for n in entry["weights"]}
            computed = {"z": backend.block(spec, weights, x, entry["training"])}
            if gradients and "input/dz" in tensors:
                dz = tensors["input/dz"].astype(dtype)
                dx, dweights = backend.block_vjp(spec, weights, x, dz, entry["training"])
                computed |= {"dx": dx, **dweights}
            # save_file takes the bytes as they lie in memory
            computed = {n: np.require(a, requirements="C") for n, a in computed.items()}
            save_file(computed, folder / f"{entry['name']}.{dtype}.safetensors")
    return folder


def with_clause(clause: str):
    return [entry for entry in ENTRIES.values() if clause in entry["clauses"]]
