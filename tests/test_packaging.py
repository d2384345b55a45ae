"""What an installed wheel holds: four packages, and metadata that leads to what is in them."""

import json
from importlib import metadata
from pathlib import PurePosixPath

import pytest

import nlcore

PACKAGES = {"nlcore", "nlcore_torch", "nlcore_keras", "nlcore_conformance"}


@pytest.fixture(scope="module")
def wheel():
    """The installed distribution; an editable one has no files of its own to look at."""
    try:
        distribution = metadata.distribution("nlcore")
    except metadata.PackageNotFoundError:
        pytest.skip("nlcore is not installed")
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("nlcore is installed editable, not from a wheel")
    return distribution


def test_packages(wheel):
    files = [PurePosixPath(str(path)) for path in wheel.files]
    inside = [path for path in files if path.parts[0] != ".." and path.suffix != ".pyc"]
    tops = {path.parts[0] for path in inside}
    assert tops == PACKAGES | {f"nlcore-{wheel.version}.dist-info"}
    for package in PACKAGES:
        assert PurePosixPath(package, "__init__.py") in inside
        assert PurePosixPath(package, "py.typed") in inside
    assert any(path.match("*.dist-info/licenses/LICENSE") for path in inside)


def test_version(wheel):
    assert wheel.version == nlcore.__version__


def test_extras_and_requirements(wheel):
    extras = {"torch", "keras", "conformance", "video", "coco", "all"}
    assert set(wheel.metadata.get_all("Provides-Extra")) == extras
    required = [line for line in wheel.requires if "extra ==" not in line]
    assert sorted(line.split(">=")[0] for line in required) == ["numba", "numpy"]


def test_entry_points(wheel):
    found = {(e.group, e.name): e.value for e in wheel.entry_points}
    assert found == {
        ("console_scripts", "nlcore-conformance"): "nlcore_conformance.__main__:main",
        ("console_scripts", "nlcore-coco"): "nlcore.coco.cli:main",
        ("console_scripts", "nlcore-video"): "nlcore.video.cli:main",
        ("nlcore.backends", "keras"): "nlcore_keras.backend:backend",
        ("nlcore.backends", "keras-jax"): "nlcore_keras.backend:keras_jax",
        ("nlcore.backends", "keras-tensorflow"): "nlcore_keras.backend:keras_tensorflow",
        ("nlcore.backends", "keras-torch"): "nlcore_keras.backend:keras_torch",
        ("nlcore.backends", "reference"): "nlcore_conformance.backend.reference:backend",
        ("nlcore.backends", "torch"): "nlcore_torch.backend:backend",
        ("pytest11", "nlcore"): "nlcore_conformance.pytest_plugin",
    }


def test_entry_points_lead_to_files_of_the_wheel(wheel):
    files = {str(path) for path in wheel.files}
    for entry_point in wheel.entry_points:
        path = entry_point.module.replace(".", "/")
        assert files & {f"{path}.py", f"{path}/__init__.py"}
