"""Where a position looks: the reference's weights, by an operation whose g is the identity."""

import numpy as np
import pytest
import torch

import nlcore_torch.operation.gaussian
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_torch import NonLocalBlock
from nlcore_torch.attention_weights import responses, top_responses

SIZES = (4, 3, 5)


def made(**fields):
    torch.manual_seed(0)
    block = NonLocalBlock(6, identity=False, dtype=torch.float64, **fields)
    return block, torch.randn(2, 6, *SIZES[: block.spec.ndim], dtype=torch.float64)


def expected(block, x, position):
    """w_ij for what every i sees: all j."""
    spec = block.spec
    theta, phi, _ = block.embeddings(x)
    index = np.ravel_multi_index(position, x.shape[2:])
    rows, keys = theta[:, index], phi  # (B, D), (B, M, D)
    if spec.pairwise == "concatenation":
        f = torch.relu(rows[:, None, 0] + keys[..., 0])
    else:
        t = spec.scale * torch.einsum("bd,bmd->bm", rows, keys)
        f = t if spec.pairwise == "dot_product" else t.exp()
    return f / (f.sum(1, keepdim=True) if spec.normalization == "sum" else f.shape[1])


@pytest.mark.parametrize("chunk", [8, 1 << 21])
@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("subsample", [None, (1, 2, 2)])
def test_weights(pairwise, normalization, subsample, chunk, monkeypatch):
    monkeypatch.setattr(nlcore_torch.operation.gaussian, "CHUNK", chunk)
    functions = {"pairwise": pairwise, "normalization": normalization}
    block, x = made(subsample=subsample, value_channels=4, bias="embeddings", **functions)
    found = responses(block, x, (1, 2, 3))
    assert found.shape == (2, 4, *((1, 2) if subsample else (3, 5)))
    want = expected(block, x, (1, 2, 3)).detach()
    torch.testing.assert_close(found.flatten(1), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("fields", [{"extent": "space"}, {"extent": "time"}, {"window": 2}])
def test_what_is_not_seen_has_no_weight(fields):
    block, x = made(**fields)
    found = responses(block, x, (2, 1, 3))
    seen = torch.zeros(SIZES, dtype=torch.bool)
    if fields.get("extent") == "space":
        seen[2] = True
    elif fields.get("extent") == "time":
        seen[:, 1, 3] = True
    else:
        seen[2:] = True
    assert torch.equal(found != 0, seen.expand(2, -1, -1, -1))
    torch.testing.assert_close(found.flatten(1).sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_top(ndim):
    window = (1, 2, 2)[3 - ndim :]
    block, x = made(ndim=ndim, subsample=window)
    position = (1, 2, 3)[:ndim]
    weights = responses(block, x, position)
    top = top_responses(block, x, position, 2)
    assert top.positions.shape == (2, 2, ndim)
    for item in range(2):
        for value, place in zip(top.weights[item], top.positions[item], strict=True):
            at = tuple(int(k) // w for k, w in zip(place, window, strict=True))
            assert weights[item][at] == value
            assert all(int(k) % w == 0 for k, w in zip(place, window, strict=True))
        assert top.weights[item, 0] == weights[item].max()
        assert top.weights[item, 0] > top.weights[item, 1]


def test_errors():
    block, x = made()
    with pytest.raises(
        ValueError, match=r"position must be an index into \(4, 3, 5\); received \(4, 0, 0\)"
    ):
        responses(block, x, (4, 0, 0))
    with pytest.raises(
        ValueError, match="k must be from 1 to 60, the number of positions j; received 61"
    ):
        top_responses(block, x, (0, 0, 0), 61)
