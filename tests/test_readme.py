"""The README's Python runs as it stands, and what it says of names and values is so."""

import re
from pathlib import Path

import numpy as np
import pytest

import nlcore

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
# Each block with as many empty lines before it as the README has: tracebacks name its lines.
BLOCKS = [
    "\n" * README.count("\n", 0, match.start(1)) + match[1]
    for match in re.finditer(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
]


def run(code):
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    return names


@pytest.mark.parametrize("code", BLOCKS, ids=["numpy", "torch", "keras", "own"])
def test_block_runs(code):
    run(code)


def test_example_backend_computes_the_block():
    backend = run(BLOCKS[-1])["backend"]
    rng = np.random.default_rng(0)
    spec = nlcore.NonLocalSpec(6, ndim=2, scale=0.5, batch_norm=False)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x = rng.normal(size=(2, 6, 3, 4))
    expected = nlcore.block(spec, weights, x)
    np.testing.assert_allclose(backend(spec, weights, x), expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(NotImplementedError):
        backend(nlcore.NonLocalSpec(6), weights, x)


def test_dialects_are_all_named():
    row = next(line for line in README.splitlines() if line.startswith("| dialect |"))
    assert re.findall(r"`(\w+)`", row) == list(nlcore.DIALECTS)
