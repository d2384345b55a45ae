"""The eight dialects against values written by hand from what their sources compute."""

import dataclasses
import re

import pytest

from nlcore import DIALECTS, NonLocalSpec, dialect

ALL = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
EG_AND_DOT = ("embedded_gaussian", "dot_product")


@dataclasses.dataclass
class Expected:
    """What a dialect is at C = 128."""

    eg_scale: float
    inner: int
    pairwise: tuple
    ndims: tuple
    bias: bool
    batch_norm: bool
    pools: bool
    subsample_at: str = "embedding"
    pair_bias: bool = False


# D = 64, where D^-1/2 = 0.125 and D^+1/2 = 8; timm's D is 16 and its scale C^-1/2.
EXPECTED = {
    "paper": Expected(1.0, 64, ALL, (1, 2, 3), bias=False, batch_norm=True, pools=True),
    "paper_formula": Expected(
        1.0, 64, ALL, (1, 2, 3), bias=False, batch_norm=True, pools=True, subsample_at="input"
    ),
    "caffe2": Expected(
        0.125,
        64,
        EG_AND_DOT,
        (1, 2, 3),
        bias=True,
        batch_norm=True,
        pools=True,
        subsample_at="input",
    ),
    "mmcv": Expected(0.125, 64, ALL, (1, 2, 3), bias=True, batch_norm=False, pools=False),
    "alexhex7": Expected(1.0, 64, ALL, (1, 2, 3), bias=True, batch_norm=True, pools=True),
    "tea1528": Expected(
        1.0, 64, ALL, (1, 2, 3), bias=True, batch_norm=True, pools=False, pair_bias=True
    ),
    "timm": Expected(
        128**-0.5, 16, ("embedded_gaussian",), (2,), bias=True, batch_norm=True, pools=False
    ),
    "gcnet": Expected(8.0, 64, EG_AND_DOT, (2,), bias=True, batch_norm=False, pools=False),
}
SUBSAMPLE = {1: (2,), 2: (2, 2), 3: (1, 2, 2)}

CASES = [
    (name, pairwise, ndim)
    for name, expected in EXPECTED.items()
    for pairwise in expected.pairwise
    for ndim in expected.ndims
]


def test_the_names():
    assert list(DIALECTS) == list(EXPECTED)
    assert all(known.source for known in DIALECTS.values())


@pytest.mark.parametrize(("name", "pairwise", "ndim"), CASES)
def test_fields(name, pairwise, ndim):
    expected = EXPECTED[name]
    spec = dialect(name, 128, pairwise=pairwise, ndim=ndim)
    assert spec == NonLocalSpec(
        128,
        inner_channels=expected.inner,
        ndim=ndim,
        pairwise=pairwise,
        scale=expected.eg_scale if pairwise == "embedded_gaussian" else 1.0,
        subsample=SUBSAMPLE[ndim] if expected.pools else None,
        subsample_at=expected.subsample_at,
        bias=expected.bias,
        pair_bias=expected.pair_bias and pairwise == "concatenation",
        batch_norm=expected.batch_norm,
    )
    assert spec.dialect == name and repr(spec).startswith(f"dialect({name!r}, ")
    again = eval(repr(spec), {"dialect": dialect})
    assert again == spec and again.dialect == name


@pytest.mark.parametrize("name", EXPECTED)
def test_default_pairwise_and_ndim(name):
    spec = dialect(name, 64)
    assert spec.pairwise == "embedded_gaussian"
    assert spec.ndim == max(EXPECTED[name].ndims)


@pytest.mark.parametrize(
    ("channels", "inner"), [(8, 8), (64, 8), (72, 16), (100, 16), (256, 32), (1024, 128)]
)
def test_timm_width_is_an_eighth_rounded_to_8(channels, inner):
    assert dialect("timm", channels).inner_channels == inner


def test_scale_follows_an_overridden_width():
    assert dialect("caffe2", 64, inner_channels=16).scale == 0.25
    assert dialect("gcnet", 64, inner_channels=16).scale == 4.0
    assert dialect("timm", 64, inner_channels=16).scale == 0.125  # of C, not of D


def test_overrides_replace_fields():
    spec = dialect("caffe2", 64, subsample=None, eps=1e-3, scale=2.0, bias=False)
    assert (spec.subsample, spec.eps, spec.scale, spec.bias) == (None, 1e-3, 2.0, False)
    assert spec.subsample_at == "input"
    assert spec.dialect == "caffe2 with subsample, eps, scale, bias"
    again = eval(repr(spec), {"dialect": dialect})
    assert again == spec and again.dialect.startswith("caffe2 with ")


@pytest.mark.parametrize("pairwise", ALL)
def test_mmcvs_w_z_has_no_bias_beside_batch_normalization(pairwise):
    spec = dialect("mmcv", 64, pairwise, batch_norm=True)
    assert (spec.bias, spec.batch_norm) == ("embeddings", True)
    assert spec.dialect == "mmcv with batch_norm"
    assert dialect("mmcv", 64, pairwise, batch_norm=True, bias=True).dialect.endswith("bias")
    others = (name for name in DIALECTS if name != "mmcv")
    assert {dialect(name, 64, batch_norm=True).bias for name in others} == {False, True}


def test_the_width_of_g_follows_an_overridden_width():
    assert dialect("timm", 128).value_channels == 16
    spec = dialect("caffe2", 64, inner_channels=8, value_channels=32)  # as SAGAN
    assert (spec.inner_channels, spec.value_channels, spec.scale) == (8, 32, 8**-0.5)
    assert spec.dialect == "caffe2 with value_channels"
    again = eval(repr(spec), {"dialect": dialect})
    assert again == spec


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("pytorch", {}, f"dialect must be one of {tuple(EXPECTED)}; received 'pytorch'"),
        (
            "caffe2",
            {"pairwise": "gaussian"},
            "pairwise must be one of ('embedded_gaussian', 'dot_product') for dialect 'caffe2'; "
            "received 'gaussian'",
        ),
        (
            "timm",
            {"pairwise": "dot_product"},
            "pairwise must be one of ('embedded_gaussian',) for dialect 'timm'; "
            "received 'dot_product'",
        ),
        ("gcnet", {"ndim": 3}, "ndim must be one of (2,) for dialect 'gcnet'; received 3"),
        ("paper", {"ndim": 4}, "ndim must be one of (3, 2, 1) for dialect 'paper'; received 4"),
        ("paper", {"inner_channels": 0}, "inner_channels must be an int > 0; received 0"),
        ("paper", {"eps": 0}, "eps must be > 0; received 0"),
    ],
    ids=repr,
)
def test_errors(name, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dialect(name, 64, **arguments)
