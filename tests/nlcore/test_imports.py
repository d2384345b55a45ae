"""nlcore is a NumPy library: importing it, and using it, loads no framework and no test tool."""

import subprocess
import sys

SCRIPT = """
import sys
import numba  # loads SciPy where it is installed
import numpy as np

before = set(sys.modules)
import nlcore

spec = nlcore.NonLocalSpec(4)
nlcore.init_weights(spec, np.random.default_rng(0))
unwanted = ("torch", "tensorflow", "keras", "jax", "hypothesis", "scipy", "pytest")
print([name for name in unwanted if name in set(sys.modules) - before])
"""


def test_no_framework_is_loaded():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_public_names_exist():
    import nlcore

    assert [name for name in nlcore.__all__ if not hasattr(nlcore, name)] == []
    assert sorted(set(nlcore.__all__)) == sorted(nlcore.__all__)
