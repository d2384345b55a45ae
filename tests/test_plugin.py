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
    assert "nlcore_conformance.checks.catalogue" not in sys.modules
    assert "numba" not in sys.modules
"""


LIB = """
import nlcore

def nothing(spec, weights, x, training=False):
    raise NotImplementedError("not yet")

def one_axis(spec, weights, x, training=False):
    if spec.ndim != 1:
        raise NotImplementedError("one axis only")
    return nlcore.block(spec, weights, x, training).astype(x.dtype)

class Undecided:
    def supports(self, spec, dtype):
        raise ValueError("neither nor")

    block = staticmethod(one_axis)
"""

KNOWN = """
[[known]]
check = "rescaling"
reason = "the reason"
link = "the link"
expires = 2999-01-01
worst_ratio = inf
"""

needs_the_suite = pytest.mark.skipif(WITHOUT, reason="the suite's packages are not installed")


def judge(folder, backend, *arguments):
    """A run of one check."""
    (folder / "lib.py").write_text(LIB)
    (folder / "known.toml").write_text(KNOWN)
    suite = ("--pyargs", "nlcore_conformance", "-k", "rescaling", "--nl-backend", backend)
    return run_pytest(folder, *suite, *arguments)


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


@pytest.mark.parametrize("name", ["hypothesis", "ml_dtypes", "rich"])
def test_without_one_of_its_packages_the_suite_is_collected_and_skipped(tmp_path, name):
    (tmp_path / "hide.py").write_text(f"import sys\nsys.modules[{name!r}] = None\n")
    # hypothesis' own plugin would miss it too
    suite = ("-p", "hide", "-p", "no:hypothesispytest", "-rs", "--pyargs", "nlcore_conformance")
    done = run_pytest(tmp_path, *suite)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    assert "1 skipped" in done.stdout
    assert "the suite needs nlcore[conformance]" in done.stdout
    done = run_pytest(tmp_path, *suite, "--nl-backend", "reference")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{name}" in done.stderr and "pip install 'nlcore[conformance]'" in done.stderr


@needs_the_suite
def test_a_backend_that_supports_nothing_fails(tmp_path):
    done = judge(tmp_path, "lib:nothing")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 skipped" in done.stdout
    assert "lib:nothing does not conform: nothing was tried" in done.stdout


@needs_the_suite
def test_without_a_backend_the_checks_are_skipped(tmp_path):
    done = run_pytest(tmp_path, "--pyargs", "nlcore_conformance", "-k", "rescaling")
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert "1 skipped" in done.stdout and "block conformance" not in done.stdout


@needs_the_suite
def test_the_summary_says_the_coverage_and_what_no_longer_fails(tmp_path):
    done = judge(tmp_path, "lib:one_axis", "-W", "error", "--nl-known", "known.toml")
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert "known failure that no longer fails" in done.stdout
    assert "rescaling: the reason (the link)" in done.stdout
    assert "ndim=2 (one axis only)" in done.stdout


@needs_the_suite
@pytest.mark.parametrize(
    "backend, arguments, says",
    [
        ("nothing", [], "unknown backend 'nothing': expected one of"),
        ("lib:nowhere", [], "lib:nowhere cannot be imported: AttributeError"),
        ("lib:Undecided", [], "it raised ValueError: neither nor"),
        ("reference", ["--nl-profile", "fast"], "invalid choice: 'fast'"),
        ("reference", ["--nl-failures", "lib.py"], "received the file lib.py"),
        ("reference", ["--nl-device", "cuda"], "has no attribute `device`"),
    ],
)
def test_what_cannot_be_run_is_a_usage_error(tmp_path, backend, arguments, says):
    done = judge(tmp_path, backend, *arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
