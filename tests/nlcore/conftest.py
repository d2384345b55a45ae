"""What the modules share, and `import oracle`: --import-mode=importlib leaves sys.path alone."""

import sys
from pathlib import Path

import numpy as np
import pytest

from nlcore.reference import parallel

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def rng():
    return np.random.default_rng(20171107)


@pytest.fixture
def threads(monkeypatch):
    """A function that sets how many threads share the rows of every problem, however small."""

    def choose(count):
        parallel._pool.cache_clear()
        monkeypatch.setattr(parallel, "THREADS", count)

    monkeypatch.setattr(parallel, "SMALL", 0)
    yield choose
    parallel._pool.cache_clear()
