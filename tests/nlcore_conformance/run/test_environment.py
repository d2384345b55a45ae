"""What a run says that it ran on."""

from __future__ import annotations

import platform
import sys
from types import ModuleType

import numpy as np

import nlcore
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.run.environment import environment


def test_versions_platform_and_device():
    found = environment(Plain())
    assert found["nlcore"] == nlcore.__version__
    assert found["specification"] == nlcore.SPEC_VERSION
    assert found["numpy"] == np.__version__
    assert found["python"] == platform.python_version()
    assert found["device"] == "not said"
    backend = Plain()
    backend.device = "cuda"
    assert environment(backend)["device"] == "cuda"


def test_the_packages_of_the_backends_module(monkeypatch):
    import rich.table

    module = ModuleType("someones_adapter")
    module.Table, module.sys = rich.table.Table, sys
    monkeypatch.setitem(sys.modules, "someones_adapter", module)

    def block(spec, weights, x, training=False):
        return x

    backend = Plain()
    block.__module__ = "someones_adapter"
    backend.block = block
    assert "rich" in environment(backend)
    assert "rich" not in environment(Plain())
