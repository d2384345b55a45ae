"""The adapters to other packages' blocks; each is tested where its package is installed."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nlcore
from nlcore import DIALECTS, NonLocalSpec
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.identify import Identification, identify
from nlcore_conformance.problems.case import Case, arrays, laid_out

ROOT = Path(__file__).parents[2]
POSITIONS = {1: (7,), 2: (5, 6), 3: (3, 4, 5)}

#: adapter -> the module that it needs, and the dialect that the package computes.
ADAPTERS = {
    "mmcv:nonlocal1d": ("mmcv.cnn", "mmcv"),
    "mmcv:nonlocal2d": ("mmcv.cnn", "mmcv"),
    "mmcv:nonlocal3d": ("mmcv.cnn", "mmcv"),
    "pytorchvideo:nonlocal3d": ("pytorchvideo.layers", "caffe2"),
    "slowfast:nonlocal3d": ("slowfast.models", "caffe2"),
    "timm:nonlocal2d": ("timm.layers", "timm"),
}


def load(monkeypatch: pytest.MonkeyPatch, name: str, suffix: str = ""):
    """The adapter, or a skip where its package is not installed."""
    needed, _ = ADAPTERS[name]
    pytest.importorskip("torch")
    pytest.importorskip(needed, exc_type=ImportError)
    monkeypatch.syspath_prepend(str(ROOT))
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"nlcore_torch.adapters.{module}"), attribute + suffix)


@pytest.fixture(params=ADAPTERS)
def name(request) -> str:
    return request.param


@pytest.fixture
def adapter(monkeypatch, name):
    return load(monkeypatch, name)


@pytest.fixture
def default(monkeypatch, name):
    return load(monkeypatch, name, "_default")


def supported(adapter, name: str) -> list[NonLocalSpec]:
    """The specs of dialects that the adapter supports, those without batch normalization last."""
    ndim = int(name[-2])
    every = [
        nlcore.dialect(dialect, 16, pairwise, ndim=ndim, inner_channels=8)
        for dialect, known in DIALECTS.items()
        for pairwise in known.pairwise
        if ndim in known.ndims
    ]
    found = [spec for spec in dict.fromkeys(every) if adapter.supports(spec, "float32") is True]
    return sorted(found, key=lambda spec: not spec.batch_norm)


#: dialect -> what is found about the rules of the package that computes it, by default.
DEFAULTS = {
    "mmcv": {
        "C(x)": "sum of f for gaussian and embedded_gaussian; "
        "number of positions for dot_product and concatenation",
        "scale": "1 for gaussian and dot_product; D^-1/2 for embedded_gaussian",
        "subsampling": "as asked (yes, no)",
        "pooling order": "after the embeddings",
        "positions that fill no window": "dropped",
        "bias of W_z": "as asked (no, yes)",
        "bias in the ReLU": "no (only this was answered)",
        "batch normalization": "as asked (yes, no)",
        "eps": "1e-05",
    },
    "caffe2": {
        "C(x)": "sum of f for embedded_gaussian; number of positions for dot_product",
        "scale": "D^-1/2 for embedded_gaussian; 1 for dot_product",
        "extent": "all",
        "subsampling": "as asked (yes, no)",
        "pooling window": "as asked ((1, 2, 2), (2, 2, 2), (2, 1, 1))",
        "pooling order": "before the embeddings",
        "bias of W_z": "as asked (no, yes)",
        "bias in the ReLU": "not asked",
        "batch normalization": "as asked (yes, no)",
        "eps": "1e-05",
    },
    "timm": {
        "C(x)": "sum of f",
        "scale": "C^-1/2",
        "subsampling": "no",
        "pooling order": "not asked",
        "batch normalization": "yes (only this was answered)",
        "eps": "1e-05",
    },
}
#: package -> whether a new block returns x.
IDENTITY = {
    "mmcv": "yes",
    "pytorchvideo": "no",
    "slowfast": "yes with batch normalization, no without",
    "timm": "yes",
}
#: What is found about rules where the constructor is told what the spec asks for.
CONFIGURED = {
    "mmcv": {
        "scale": "1 (only this was answered) for gaussian and dot_product; "
        "as asked (1, D^-1/2) for embedded_gaussian",
        "pooling order": "after the embeddings (only this was answered)",
        "eps": "as asked (1e-05, 0.001, 0.0001, 1e-06)",
    },
    "caffe2": {
        "scale": "D^-1/2 for embedded_gaussian; 1 for dot_product (only these were answered)",
        "extent": "all (only this was answered)",
        "pooling order": "before the embeddings (only this was answered)",
        "eps": "as asked (1e-05, 0.001, 0.0001, 1e-06)",
    },
    "timm": {
        "scale": "as asked (1, C^-1/2)",
        "subsampling": "no (only this was answered)",
        "eps": "1e-05 (only this was answered)",
    },
}


def found_rules(found: Identification, wanted: dict[str, str]) -> dict[str, str]:
    """What was found about the rules that are wanted."""
    return {name: found.rules[name].text for name in wanted}


def test_by_default_it_computes_the_dialect_that_was_read(default, name):
    dialect = ADAPTERS[name][1]
    found = identify(default)
    assert found.sentence == f"computes dialect {dialect}, whatever other rules the spec asks for"
    assert (found.dialects, found.lacks) == ((dialect,), ())
    assert found.ratio <= 1
    wanted = {**DEFAULTS[dialect], "identity at construction": IDENTITY[name.partition(":")[0]]}
    assert found_rules(found, wanted) == wanted


def test_configured_it_follows_the_spec(adapter, name):
    dialect = ADAPTERS[name][1]
    found = identify(adapter)
    assert (
        found.sentence
        == {
            "mmcv": "computes what the spec asks for; it has paper and mmcv",
            "caffe2": "computes dialect caffe2",
            "timm": "computes what the spec asks for; it has tea1528 and timm",
        }[dialect]
    )
    assert found.follows
    assert dialect in found.dialects
    wanted = {**DEFAULTS[dialect], **CONFIGURED[dialect]}
    wanted["identity at construction"] = IDENTITY[name.partition(":")[0]]
    for rule in ("C(x)", "bias of W_z", "bias in the ReLU", "batch normalization"):
        wanted.pop(rule, None)
    assert found_rules(found, wanted) == wanted


@pytest.mark.parametrize("check", ["forward", "gradient"])
def test_a_few_problems_are_computed_and_differentiated(adapter, name, check):
    tried = 0
    for spec in supported(adapter, name):
        if check == "gradient" and (adapter.name[:4], spec.pairwise) == ("mmcv", "concatenation"):
            continue
        for dtype in adapter.dtypes:
            for training in {False, spec.batch_norm}:
                case = Case(spec, 2, POSITIONS[spec.ndim], dtype, seed=tried, training=training)
                attempt(named_check(f"{check} / {spec.pairwise}"), adapter, case)  # or it raises
                tried += 1
    assert tried >= 2 * len(adapter.dtypes)


def test_mmcv_cannot_differentiate_its_concatenation(monkeypatch):
    adapter = load(monkeypatch, "mmcv:nonlocal3d")
    spec = nlcore.dialect("mmcv", 16, "concatenation", inner_channels=8)
    case = Case(spec, 2, POSITIONS[3], "float32")
    attempt(named_check("forward / concatenation"), adapter, case)
    with pytest.raises(Failed, match=r"modified by an inplace operation.*output 0 of Relu"):
        attempt(named_check("gradient / concatenation"), adapter, case)


def test_what_its_constructor_cannot_say_is_refused_with_a_reason(adapter, name):
    spec, ndim = supported(adapter, name)[0], int(name[-2])
    reasons = {adapter.supports(spec, "float8")}
    for change in (
        {"normalization": "count" if spec.normalization == "sum" else "sum"},
        {"scale": 0.7},
        {"subsample": (3,) * ndim, "subsample_at": "input" if "mmcv" in name else "embedding"},
        {"ndim": ndim % 3 + 1, "subsample": None},
    ):
        other = replace(spec, **change)
        answer = adapter.supports(other, "float32")
        reasons.add(answer)
        x = np.ones((1, 16, *[4] * other.ndim), np.float32)
        weights = nlcore.init_weights(other, np.random.default_rng(0))
        with pytest.raises(NotImplementedError, match=f"^{re.escape(str(answer))}$"):
            adapter.block(other, weights, x)
    assert len(reasons) == 5
    assert all(isinstance(reason, str) for reason in reasons)


def test_arrays_of_any_layout_and_byte_order_give_the_same(adapter, name):
    spec = supported(adapter, name)[0]
    weights, x, dz = arrays(Case(spec, 2, POSITIONS[spec.ndim], "float32", seed=3))
    z, (dx, dweights) = adapter.block(spec, weights, x), adapter.block_vjp(spec, weights, x, dz)
    for layout in ("contiguous", "channels_last", "strided", "reversed", "byteswapped"):
        other, gradient = laid_out(x, layout), laid_out(dz, layout)
        own = {n: laid_out(w[..., None], layout)[..., 0] for n, w in weights.items()}
        if layout == "contiguous":  # torch warns of what it cannot write to
            other.flags.writeable = gradient.flags.writeable = False
        again, dagain = adapter.block_vjp(spec, own, other, gradient)
        alike(adapter.block(spec, own, other), z)
        alike(again, dx)
        assert dagain.keys() == dweights.keys()
        for weight, gradient in dagain.items():
            alike(gradient, dweights[weight])


def alike(one: np.ndarray, other: np.ndarray) -> None:
    """Equal but for the order of sums: this is about axes and byte orders, not about rounding."""
    assert one.dtype == other.dtype == np.float32
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_batch_statistics_of_one_value_are_refused_as_torch_does(adapter, name):
    spec = replace(supported(adapter, name)[0], batch_norm=True, bias=False, subsample=None)
    weights, x, _ = arrays(Case(spec, 1, (1,) * spec.ndim, "float32"))
    with pytest.raises(NotImplementedError, match="single value"):
        adapter.block(spec, weights, x, training=True)
    assert adapter.block(spec, weights, x, training=False).shape == x.shape


def test_by_default_the_other_rules_are_not_heeded(default, name):
    ndim = int(name[-2])
    spec = nlcore.dialect("tea1528", 16, ndim=ndim, inner_channels=8)
    weights, x, _ = arrays(Case(spec, 2, POSITIONS[ndim], "float32"))
    weights["out.bias"] = np.zeros_like(weights["out.bias"])
    z = default.block(spec, weights, x)
    for change in ({"scale": 2.0}, {"normalization": "count"}, {"eps": 0.1}):
        assert np.array_equal(default.block(replace(spec, **change), weights, x), z)


def test_mmcv_has_no_bias_beside_batch_normalization(monkeypatch):
    default = load(monkeypatch, "mmcv:nonlocal3d", "_default")
    spec = nlcore.dialect("caffe2", 16)
    weights, x, _ = arrays(Case(spec, 1, (2, 4, 4), "float32"))
    with pytest.raises(NotImplementedError, match=r"has no out\.bias"):
        default.block(spec, weights, x)
    weights["out.bias"] = np.zeros_like(weights["out.bias"])
    assert default.block(spec, weights, x).shape == x.shape
