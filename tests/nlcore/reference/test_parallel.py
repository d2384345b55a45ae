"""The reference gives equal bits in every process and thread, however it was started."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nlcore
from nlcore.reference import parallel

SCRIPT = Path(__file__).with_name("processes.py")
METHODS = multiprocessing.get_all_start_methods()


@pytest.mark.parametrize(
    "way, method",
    [("threads", "none"), *((way, m) for way in ("pool", "torch", "loader") for m in METHODS)],
)
def test_equal_bits(way, method):
    if way in ("torch", "loader") and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), way, method],
        env=os.environ | {"NUMBA_NUM_THREADS": "4"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stdout.strip()) == (0, "4"), run.stderr


def test_a_problem_is_shared_or_computed_alone_with_equal_bits(threads, monkeypatch, rng):
    spec = nlcore.NonLocalSpec(8, ndim=2)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x = rng.normal(size=(2, 8, 5, 5))
    threads(4)  # and no problem is too small
    shared = nlcore.block(spec, weights, x)
    with monkeypatch.context() as alone:
        alone.setattr(parallel, "SMALL", 2**18)
        alone.setattr(parallel, "_pool", None)  # a call of it would fail
        assert np.array_equal(nlcore.block(spec, weights, x), shared)
