"""Max-pooling of rows: torch's own on channels first, and its derivatives."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from nlcore_torch.operation.pooling import pooled_rows

SHAPES = {
    "1-D": ((9,), (2,)),
    "2-D": ((5, 6), (2, 3)),
    "pixels": ((3, 5, 6), (1, 2, 3)),
    "frames": ((7, 3, 2), (2, 1, 1)),
    "all": ((5, 4, 7), (2, 2, 3)),
    "one axis": ((3, 4, 5), (1, 1, 2)),
    "as is": ((2, 2, 2), (1, 1, 1)),
}


def plain(rows, positions, window):
    """(B, N, E) -> (B, M, E) by torch's pooling of that many axes."""
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(positions) - 1]
    return pool(rows.mT.unflatten(2, positions), window).flatten(2).mT


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def problem(request):
    positions, window = request.param
    generator = torch.Generator().manual_seed(0)
    size = (2, torch.Size(positions).numel(), 3)
    return torch.randn(size, generator=generator, dtype=torch.float64), positions, window


def test_values_ties_and_nan(problem):
    rows, positions, window = problem
    rows = rows.round().requires_grad_()  # many ties
    found, expected = pooled_rows(*problem), plain(*problem)
    assert torch.equal(found, expected)
    found, expected = pooled_rows(rows, positions, window), plain(rows, positions, window)
    dy = torch.randn_like(found)
    assert torch.equal(*(torch.autograd.grad(y, rows, dy)[0] for y in (found, expected)))
    with_nan = rows.detach().clone()
    with_nan[0, 1, 2] = torch.nan
    found, expected = (pool(with_nan, positions, window) for pool in (pooled_rows, plain))
    assert torch.equal(found.isnan(), expected.isnan()) and found.isnan().any()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_derivatives(problem):
    rows, positions, window = problem

    def pool(rows):
        return pooled_rows(rows, positions, window)

    rows = rows.requires_grad_()
    torch.autograd.gradcheck(pool, rows, check_forward_ad=True)
    torch.autograd.gradgradcheck(pool, rows)


def test_vmap(problem):
    rows, positions, window = problem
    items = torch.stack([rows, -rows, rows.flip(1)])  # (3, B, N, E)

    def gradient(rows):
        pull = torch.func.vjp(lambda r: pooled_rows(r, positions, window), rows)[1]
        return pull(torch.ones_like(plain(rows, positions, window)))[0]

    expected = torch.stack([gradient(item) for item in items])
    assert torch.equal(torch.vmap(gradient)(items), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(("window", "places"), [((1, 2, 2), 16), ((2, 2, 2), 24), ((2, 1, 1), 32)])
def test_only_places_are_kept(dtype, window, places):
    rows = torch.randn(1, 4 * 4 * 4, 8).to(dtype).requires_grad_()
    kept = []
    with saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        pooled_rows(rows, (4, 4, 4), window)
    assert sum(kept) == 4 * places * 8  # bytes, of 8 channels; the input has 64 rows
