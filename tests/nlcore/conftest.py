"""What the modules share, and `import oracle`: --import-mode=importlib leaves sys.path alone."""

import sys
from pathlib import Path

import numba
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def rng():
    return np.random.default_rng(20171107)


@pytest.fixture
def threads():
    """numba.set_num_threads, undone after the test."""
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)
