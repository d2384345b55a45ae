"""NonLocalSpec: defaults, every validation rule by its message, the repr; check_input."""

import dataclasses
import re

import numpy as np
import pytest

from nlcore import NonLocalSpec, check_input, dialect


def test_defaults():
    spec = NonLocalSpec(64)
    assert dataclasses.asdict(spec) == {
        "channels": 64,
        "inner_channels": 32,
        "value_channels": 32,
        "ndim": 3,
        "pairwise": "embedded_gaussian",
        "normalization": "sum",
        "scale": 1.0,
        "subsample": None,
        "subsample_at": "embedding",
        "extent": "all",
        "window": None,
        "bias": False,
        "pair_bias": False,
        "batch_norm": True,
        "eps": 1e-5,
        "dialect": None,
    }


@pytest.mark.parametrize(("channels", "inner"), [(1, 1), (2, 1), (3, 1), (7, 3), (1024, 512)])
def test_inner_channels_default_to_half(channels, inner):
    assert NonLocalSpec(channels).inner_channels == inner


def test_value_channels_default_to_inner_channels():
    assert NonLocalSpec(10, 3).value_channels == 3 and NonLocalSpec(10).value_channels == 5
    same = NonLocalSpec(10, 3, value_channels=np.int64(3))
    assert type(same.value_channels) is int
    assert same == NonLocalSpec(10, 3) and hash(same) == hash(NonLocalSpec(10, 3))
    assert repr(same) == repr(NonLocalSpec(10, 3)) and "value" not in repr(same)
    assert same.arguments() == NonLocalSpec(10, 3).arguments()
    assert same != NonLocalSpec(10, 3, value_channels=4)
    before = same.arguments()
    del before["value_channels"]  # stored by a version that did not have it
    assert NonLocalSpec(**before) == same


@pytest.mark.parametrize(
    ("pairwise", "normalization"),
    [
        ("gaussian", "sum"),
        ("embedded_gaussian", "sum"),
        ("dot_product", "count"),
        ("concatenation", "count"),
    ],
)
def test_normalization_default(pairwise, normalization):
    assert NonLocalSpec(8, pairwise=pairwise).normalization == normalization


@pytest.mark.parametrize("normalization", ["sum", "count"])
@pytest.mark.parametrize(
    "pairwise", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
)
def test_every_pairwise_takes_every_normalization(pairwise, normalization):
    spec = NonLocalSpec(8, pairwise=pairwise, normalization=normalization)
    assert (spec.pairwise, spec.normalization) == (pairwise, normalization)


def test_numpy_numbers_and_lists_become_plain_values():
    spec = NonLocalSpec(
        np.int64(8),
        inner_channels=np.int32(3),
        scale=np.float32(0.5),
        subsample=[np.int64(1), 2, 2],
    )
    assert spec == NonLocalSpec(8, inner_channels=3, scale=0.5, subsample=(1, 2, 2))
    assert type(spec.channels) is type(spec.inner_channels) is int
    assert type(spec.scale) is float
    assert spec.subsample == (1, 2, 2) and type(spec.subsample[0]) is int


def test_frozen_and_hashable():
    spec = NonLocalSpec(8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.channels = 9
    assert len({spec, NonLocalSpec(8), NonLocalSpec(9)}) == 2


def test_dialect_takes_no_part_in_equality_and_is_no_argument():
    named = dialect("tea1528", 8)
    plain = NonLocalSpec(**named.arguments())
    assert named.dialect == "tea1528" and plain.dialect is None
    assert named == plain and hash(named) == hash(plain)
    with pytest.raises(TypeError, match="dialect"):
        NonLocalSpec(8, dialect="caffe2")


@pytest.mark.parametrize(
    ("fields", "pool"),
    [
        ({}, (1, 1, 1)),
        ({"ndim": 2}, (1, 1)),
        ({"ndim": 1, "subsample": (3,)}, (3,)),
        ({"subsample": (1, 2, 3)}, (1, 2, 3)),
    ],
)
def test_pool(fields, pool):
    assert NonLocalSpec(8, **fields).pool == pool


def test_embedded():
    assert not NonLocalSpec(8, pairwise="gaussian").embedded
    assert NonLocalSpec(8, pairwise="embedded_gaussian").embedded
    assert NonLocalSpec(8, pairwise="dot_product").embedded
    assert NonLocalSpec(8, pairwise="concatenation").embedded


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"inner_channels": 3},
        {"value_channels": 7, "bias": "embeddings"},
        {"ndim": 1, "subsample": (2,)},
        {"ndim": 2, "pairwise": "dot_product", "scale": 0.125},
        {"pairwise": "gaussian", "normalization": "count", "bias": True},
        {"pairwise": "concatenation", "pair_bias": True, "batch_norm": False},
        {"subsample": (1, 2, 2), "subsample_at": "input", "eps": 1e-3},
        {"extent": "space", "subsample": (1, 2, 2)},
        {"extent": "time", "subsample": (2, 1, 1)},
        {"window": 4},
    ],
    ids=repr,
)
def test_repr_round_trips(fields):
    spec = NonLocalSpec(10, **fields)
    again = eval(repr(spec), {"NonLocalSpec": NonLocalSpec})
    assert again == spec and again.dialect == spec.dialect


def test_repr_leaves_defaults_out():
    assert repr(NonLocalSpec(8, bias=True)) == (
        "NonLocalSpec(channels=8, inner_channels=4, normalization='sum', bias=True)"
    )


VALUE_ERRORS = [
    ({"channels": 0}, "channels must be an int > 0; received 0"),
    ({"channels": -4}, "channels must be an int > 0; received -4"),
    ({"inner_channels": 0}, "inner_channels must be an int > 0; received 0"),
    ({"value_channels": 0}, "value_channels must be an int > 0; received 0"),
    ({"bias": "all"}, "bias must be one of (False, True, 'embeddings'); received 'all'"),
    ({"ndim": 0}, "ndim must be an int > 0; received 0"),
    ({"ndim": 4}, "ndim must be 1, 2 or 3; received 4"),
    (
        {"pairwise": "softmax"},
        "pairwise must be one of ('gaussian', 'embedded_gaussian', 'dot_product', "
        "'concatenation'); received 'softmax'",
    ),
    ({"pairwise": None}, "pairwise must be one of"),
    ({"normalization": "mean"}, "normalization must be one of ('sum', 'count'); received 'mean'"),
    ({"scale": float("nan")}, "scale must be a finite float; received nan"),
    ({"scale": float("inf")}, "scale must be a finite float; received inf"),
    (
        {"pairwise": "concatenation", "scale": 0.5},
        "scale must be 1.0 for concatenation; received 0.5",
    ),
    (
        {"subsample": (2, 2)},
        "subsample must be None or 3 int(s), one per axis ('T', 'H', 'W'); received (2, 2)",
    ),
    ({"subsample": ()}, "subsample must be None or 3 int(s)"),
    ({"subsample": (1, 0, 2)}, "subsample must be an int > 0; received 0"),
    (
        {"subsample_at": "output"},
        "subsample_at must be one of ('embedding', 'input'); received 'output'",
    ),
    ({"extent": "frame"}, "extent must be one of ('all', 'space', 'time'); received 'frame'"),
    ({"extent": "space", "ndim": 2}, "ndim must be 3 for extent='space'; received 2"),
    ({"extent": "time", "ndim": 1}, "ndim must be 3 for extent='time'; received 1"),
    (
        {"extent": "time", "subsample": (1, 2, 2)},
        "the spatial subsample entries must be 1 for extent='time', because a pooled grid does "
        "not contain each position's own pixel; received subsample=(1, 2, 2)",
    ),
    ({"extent": "time", "subsample": (1, 1, 2)}, "the spatial subsample entries must be 1"),
    (
        {"extent": "space", "subsample": (2, 1, 1)},
        "the temporal subsample entry must be 1 for extent='space' and for a window; "
        "received subsample=(2, 1, 1)",
    ),
    ({"window": 4, "subsample": (2, 1, 1)}, "the temporal subsample entry must be 1"),
    ({"window": 0}, "window must be an int > 0; received 0"),
    (
        {"window": 4, "ndim": 2},
        "window must be None unless ndim=3 and extent='all'; "
        "received window=4 with ndim=2, extent='all'",
    ),
    (
        {"window": 4, "extent": "space"},
        "window must be None unless ndim=3 and extent='all'; "
        "received window=4 with ndim=3, extent='space'",
    ),
    (
        {"pair_bias": True},
        "pair_bias must be False unless pairwise='concatenation'; "
        "received pairwise='embedded_gaussian'",
    ),
    ({"eps": 0.0}, "eps must be > 0; received 0.0"),
    ({"eps": -1e-5}, "eps must be > 0; received -1e-05"),
    ({"eps": float("inf")}, "eps must be a finite float; received inf"),
]

TYPE_ERRORS = [
    ({"channels": 8.0}, "channels must be an int > 0; received 8.0"),
    ({"channels": "8"}, "channels must be an int > 0; received '8'"),
    ({"channels": True}, "channels must be an int > 0; received True"),
    ({"channels": None}, "channels must be an int > 0; received None"),
    ({"inner_channels": 4.0}, "inner_channels must be an int > 0; received 4.0"),
    ({"value_channels": 4.0}, "value_channels must be an int > 0; received 4.0"),
    ({"ndim": "3"}, "ndim must be an int > 0; received '3'"),
    ({"scale": "1"}, "scale must be a finite float; received '1'"),
    ({"scale": None}, "scale must be a finite float; received None"),
    ({"scale": True}, "scale must be a finite float; received True"),
    (
        {"subsample": 2},
        "subsample must be None or 3 int(s), one per axis ('T', 'H', 'W'); received 2",
    ),
    ({"subsample": "122"}, "subsample must be None or 3 int(s)"),
    ({"subsample": (1, 2.0, 2)}, "subsample must be an int > 0; received 2.0"),
    ({"window": 2.0}, "window must be an int > 0; received 2.0"),
    ({"bias": 1}, "bias must be one of (False, True, 'embeddings'); received 1"),
    ({"bias": None}, "bias must be one of (False, True, 'embeddings'); received None"),
    ({"pair_bias": None}, "pair_bias must be a bool; received None"),
    ({"batch_norm": "yes"}, "batch_norm must be a bool; received 'yes'"),
    ({"eps": "1e-5"}, "eps must be a finite float; received '1e-5'"),
]


@pytest.mark.parametrize(("fields", "message"), VALUE_ERRORS, ids=lambda value: repr(value)[:60])
def test_wrong_value(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        NonLocalSpec(**{"channels": 8, **fields})


@pytest.mark.parametrize(("fields", "message"), TYPE_ERRORS, ids=lambda value: repr(value)[:60])
def test_wrong_type(fields, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        NonLocalSpec(**{"channels": 8, **fields})


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({}, (1, 8, 1, 1, 1)),
        ({"ndim": 2}, (2, 8, 5, 7)),
        ({"ndim": 1, "subsample": (3,)}, (2, 8, 3)),
        ({"subsample": (1, 2, 2)}, (2, 8, 1, 2, 3)),
        ({"window": 4}, (2, 8, 8, 3, 3)),
        ({"window": 4}, (None, 8, None, None, None)),
        ({"subsample": (1, 2, 2)}, (None, None, None, 2, None)),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_input_that_fits(fields, shape, dtype):
    check_input(NonLocalSpec(8, **fields), shape, dtype)


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({}, (2, 8, 5, 7), "x must have shape (B, 8, T, H, W); received shape (2, 8, 5, 7)"),
        ({"ndim": 2}, (2, 8, 5), "x must have shape (B, 8, H, W); received shape (2, 8, 5)"),
        ({"ndim": 1}, (8,), "x must have shape (B, 8, T); received shape (8,)"),
        (
            {},
            (2, 5, 7, 7, 8),
            "x must have 8 channels: shape (B, 8, T, H, W); received shape (2, 5, 7, 7, 8)",
        ),
        (
            {},
            (0, 8, 2, 2, 2),
            "x must have no axis of size 0; received shape (0, 8, 2, 2, 2)",
        ),
        ({"ndim": 1}, (2, 8, 0), "x must have no axis of size 0"),
        (
            {"subsample": (1, 2, 2)},
            (2, 8, 4, 7, 1),
            "axis W must be at least its pooling window 2; received size 1 in shape "
            "(2, 8, 4, 7, 1)",
        ),
        ({"ndim": 1, "subsample": (4,)}, (2, 8, 3), "axis T must be at least its pooling window 4"),
        (
            {"window": 4},
            (2, 8, 6, 3, 3),
            "window=4 must divide T; received T=6 in shape (2, 8, 6, 3, 3)",
        ),
    ],
    ids=repr,
)
def test_input_that_does_not_fit(fields, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_input(NonLocalSpec(8, **fields), shape, "float32")


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex64"])
def test_input_must_be_floating_point(dtype):
    with pytest.raises(TypeError, match=f"x must be floating point, .*; received dtype {dtype}"):
        check_input(NonLocalSpec(8), (1, 8, 2, 2, 2), dtype)
