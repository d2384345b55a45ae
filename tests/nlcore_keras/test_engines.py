"""A part of these tests on the engines that Keras is not configured for, each in a process."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import pytest

HERE = pathlib.Path(__file__).parent
OTHERS = sorted({"tensorflow", "jax", "torch"} - {keras.backend.backend()})


@pytest.mark.parametrize("engine", OTHERS)
def test_on(engine):
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-k", "each_engine", str(HERE)]
    command += ["--ignore", str(HERE / "test_engines.py")]
    run = subprocess.run(
        command,
        env=os.environ | {"KERAS_BACKEND": engine},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
