"""Embeddings of x's rows: equal to torch's, in every derivative, without a copy of the rows."""

import pytest
import torch
import torch.nn.functional as F

from nlcore_torch.embedding import embedded


@pytest.fixture(params=["bias", "no bias"])
def arguments(request):
    """Rows (B, P, C), which lie one channel after another, weight (E, C) and bias (E,).

    They are small integers, with which every sum is exact.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (3, 4, 5), "weight": (2, 4), "bias": (2,)}
    x, weight, bias = (
        torch.randint(-4, 5, shape, generator=generator).double().requires_grad_()
        for shape in shapes.values()
    )
    return (x.mT, weight, bias if request.param == "bias" else None)


def test_equals_torch(arguments):
    assert torch.equal(embedded(*arguments), F.linear(*arguments))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_derivatives(arguments):
    torch.autograd.gradcheck(embedded, arguments, check_forward_ad=True, check_batched_grad=True)
    torch.autograd.gradgradcheck(embedded, arguments)


@pytest.mark.parametrize("frozen", [0, 1])
def test_frozen_argument(arguments, frozen):
    arguments = [
        a.detach().requires_grad_(k != frozen) if a is not None else a
        for k, a in enumerate(arguments)
    ]
    torch.autograd.gradcheck(embedded, arguments)


def test_vmap(arguments):
    rows, weight, bias = arguments

    def gradient(item):
        return torch.func.grad(lambda w: embedded(item[None], w, bias).square().sum())(weight)

    expected = torch.stack([gradient(item) for item in rows])  # (B, E, C)
    assert torch.equal(torch.vmap(gradient)(rows), expected)


def test_keeps_no_copy(arguments):
    storages = {a.untyped_storage().data_ptr() for a in arguments if a is not None}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        embedded(*arguments)
    assert kept and {tensor.untyped_storage().data_ptr() for tensor in kept} <= storages
