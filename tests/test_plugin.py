"""The pytest plugin: harmless where the suite's packages are missing, and plain about it."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

WITHOUT = find_spec("hypothesis") is None

INNOCENT = """
import sys

def test_someone_elses():
    assert "nlcore_conformance.pytest_plugin" in sys.modules
    assert "nlcore_conformance.checks" not in sys.modules
    assert "numba" not in sys.modules
"""


def run_pytest(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_someone_elses_run_is_left_alone(tmp_path):
    (tmp_path / "test_innocent.py").write_text(INNOCENT)
    done = run_pytest(tmp_path, "-W", "error", "test_innocent.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_every_option_is_prefixed(tmp_path):
    text = run_pytest(tmp_path, "--help").stdout
    group = text.split("non-local block conformance:")[1].split("\n\n")[0]
    options = [line.split()[0] for line in group.splitlines() if line.strip().startswith("-")]
    assert len(options) == 6
    assert all(option.startswith("--nl-") for option in options)


@pytest.mark.skipif(not WITHOUT, reason="the suite's packages are installed")
def test_without_its_packages_the_suite_says_what_to_install(tmp_path):
    done = run_pytest(tmp_path, "--pyargs", "nlcore_conformance", "--nl-backend", "torch")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "pip install 'nlcore[conformance]'" in done.stderr
