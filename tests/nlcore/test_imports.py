"""nlcore is a NumPy library: what needs no kernel loads no framework, no test tool and no Numba."""

import subprocess
import sys

SCRIPT = """
import sys
import numpy as np
import nlcore

spec = nlcore.NonLocalSpec(4)
nlcore.init_weights(spec, np.random.default_rng(0))
unwanted = ("numba", "torch", "tensorflow", "keras", "jax", "hypothesis", "scipy", "pytest")
print([name for name in unwanted if name in sys.modules])
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
