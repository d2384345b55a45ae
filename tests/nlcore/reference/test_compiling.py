"""Kernels are compiled on first use, kept where that can be, and compiled again after an edit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nlcore

CALL = """
import logging, numpy as np, nlcore
logging.basicConfig(format="%(message)s")
spec = nlcore.NonLocalSpec(2, 1, ndim=1, pairwise="dot_product", batch_norm=False)
weights = {name: np.ones(shape) for name, shape in nlcore.weight_shapes(spec).items()}
print(nlcore.block(spec, weights, np.ones((1, 2, 1)))[0, 0, 0])
"""


def called(tmp_path, **variables):
    """What CALL prints, and what it logs, with a copy of nlcore in tmp_path."""
    run = subprocess.run(
        [sys.executable, "-c", CALL],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout), run.stderr.strip()


@pytest.fixture
def copy(tmp_path):
    """The file compensated.py of a copy of nlcore."""
    shutil.copytree(Path(nlcore.__file__).parent, tmp_path / "nlcore")
    return tmp_path / "nlcore" / "reference" / "compensated.py"


def test_an_edit_of_an_inlined_function_is_seen(copy, tmp_path):
    kept = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    z, log = called(tmp_path, **kept)
    assert z == 9.0 and log == "compiling the reference's kernels takes some seconds"
    assert called(tmp_path, **kept) == (9.0, "")  # from the cache
    text = copy.read_text("utf-8")
    wrong = text.replace("return high + low if", "return high + low + 1.0 if")
    assert wrong != text
    copy.write_text(wrong, "utf-8")
    z, log = called(tmp_path, **kept)
    assert z != 9.0 and log


def test_no_folder_can_be_written(copy, tmp_path):
    for folder in copy.parents[1].rglob("__pycache__"):
        shutil.rmtree(folder)
    for parent in (copy.parent, copy.parents[1] / "non_local_means"):
        (parent / "__pycache__").touch()  # no folder can have this name
    home = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "NUMBA_CACHE_DIR": ""}
    z, log = called(tmp_path, **home)
    assert z == 9.0 and "in every process" in log and "NUMBA_CACHE_DIR" in log
