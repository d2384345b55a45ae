"""Where a position looks: PyTorch's weights, from the same block."""

import numpy as np
import pytest
import torch
from keras import ops

import nlcore_torch
from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_keras import NonLocalBlock, responses, top_responses
from nlcore_keras.operation import stages

SIZES = (4, 3, 5)
LAYOUTS = ("channels_last", "channels_first")


def made(layout="channels_first", dtype="float64", **fields):
    """A layer and PyTorch's block of the same weights, and the x of both."""
    spec = NonLocalSpec(6, **{"bias": True, **fields})
    torch.manual_seed(0)
    theirs = nlcore_torch.NonLocalBlock.from_spec(spec, identity=False, dtype=torch.float64)
    layer = NonLocalBlock.from_spec(spec, dtype=dtype, data_format=layout)
    layer.import_weights(theirs.export_weights())
    x = torch.randn(2, 6, *SIZES[: spec.ndim], dtype=torch.float64)
    given = np.moveaxis(x.numpy(), 1, -1) if layout == "channels_last" else x.numpy()
    return layer, given, theirs, x


FIELDS = [
    {"subsample": (1, 2, 2)},
    {"subsample": (2, 1, 2), "subsample_at": "input"},
    {"extent": "space", "subsample": (1, 1, 2)},
    {"extent": "time"},
    {"window": 2},
    {"value_channels": 7, "bias": "embeddings"},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_weights_on_each_engine(pairwise, normalization, fields, layout):
    layer, given, theirs, x = made(layout, pairwise=pairwise, normalization=normalization, **fields)
    for position in ((2, 1, 3), (0, 0, 0), (3, 2, 4)):
        found = responses(layer, given, position)
        want = nlcore_torch.responses(theirs, x, position).numpy()
        assert isinstance(found, np.ndarray) and found.dtype == np.float64
        assert found.shape == want.shape
        # some ten roundings; where C(x) is near 0, weights are as large as ill-conditioned
        np.testing.assert_allclose(found, want, rtol=1e-8, atol=1e-12 * np.abs(want).max())


@pytest.mark.parametrize("fields", [{"extent": "space"}, {"extent": "time"}, {"window": 2}])
def test_what_is_not_seen_has_no_weight(fields):
    layer, x, _, _ = made(**fields)
    found = responses(layer, x, (2, 1, 3))
    seen = np.zeros(SIZES, bool)
    if fields.get("extent") == "space":
        seen[2] = True
    elif fields.get("extent") == "time":
        seen[:, 1, 3] = True
    else:
        seen[2:] = True
    np.testing.assert_array_equal(found != 0, np.broadcast_to(seen, found.shape))
    np.testing.assert_allclose(found.reshape(2, -1).sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16", "float32"])
def test_weights_are_wide(policy):
    layer, x, theirs, other = made(dtype=policy)
    found = responses(layer, x, (0, 1, 2))
    assert found.dtype == np.float32
    want = nlcore_torch.responses(theirs, other, (0, 1, 2)).numpy()
    np.testing.assert_allclose(found, want, rtol=0.1)  # bfloat16's embeddings differ by 1 %


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_no_array_of_all_pairs(pairwise, monkeypatch):
    shapes = []
    inner = stages.pair_weights

    def spied(spec, theta, phi):
        w = inner(spec, theta, phi)
        shapes.append(tuple(w.shape))
        return w

    monkeypatch.setattr("nlcore_keras.attention_weights.pair_weights", spied)
    layer, x, _, _ = made(pairwise=pairwise, window=2)
    responses(layer, x, (0, 0, 0))
    assert shapes == [(2, 1, 30)]  # one query of each item, and the keys of its window


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_top_on_each_engine(ndim):
    window = (1, 2, 2)[3 - ndim :]
    layer, x, theirs, other = made(ndim=ndim, subsample=window)
    position = (1, 2, 3)[:ndim]
    top = top_responses(layer, x, position, 2)
    want = nlcore_torch.top_responses(theirs, other, position, 2)
    assert top.positions.shape == (2, 2, ndim)
    np.testing.assert_array_equal(top.positions, want.positions.numpy())
    np.testing.assert_allclose(top.weights, want.weights.numpy(), rtol=1e-10)


def test_the_first_of_equal_weights_comes_first():
    layer, x, _, _ = made(ndim=1)
    top = top_responses(layer, np.zeros_like(x), (0,), 3)
    np.testing.assert_array_equal(top.positions, [[[0], [1], [2]]] * 2)


def test_a_tensor_of_the_engine():
    layer, x, _, _ = made(ndim=2)
    tensor = ops.convert_to_tensor(x)
    np.testing.assert_array_equal(responses(layer, tensor, (1, 2)), responses(layer, x, (1, 2)))


def test_errors():
    layer, x, _, _ = made()
    with pytest.raises(ValueError, match=r"position must lie in \(4, 3, 5\); received \(4, 0, 0\)"):
        responses(layer, x, (4, 0, 0))
    with pytest.raises(ValueError, match=r"position must lie in \(4, 3, 5\); received \(0, 0\)"):
        responses(layer, x, (0, 0))
    with pytest.raises(ValueError, match="must have 6 channels"):
        responses(layer, np.moveaxis(x, 1, -1), (0, 0, 0))
    with pytest.raises(ValueError, match="k must be from 1 to 60, the positions j; received 61"):
        top_responses(layer, x, (0, 0, 0), 61)
    with pytest.raises(ValueError, match="no weights yet"):
        responses(NonLocalBlock(), x, (0, 0, 0))
