"""The block's linear maps: equal to torch's, in every derivative, without a copy of the rows."""

import pytest
import torch
import torch.nn.functional as F

from nlcore_torch.operation.linear import embedded, mapped

with_and_without_bias = pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])


def integers(*shape, seed=0):
    """Small ones, with which every sum is exact."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 5, shape, generator=generator).double().requires_grad_()


def layers_of(biased, rows=3):
    """Weights (E, C) and biases (E,) of two layers, the second with so many rows."""
    weights, biases = (
        (integers(2, 4), integers(rows, 4, seed=1)),
        (integers(2), integers(rows, seed=1)),
    )
    return [
        tensor
        for weight, bias in zip(weights, biases, strict=True)
        for tensor in (weight, bias if biased else None)
    ]


def both(rows, *layers):
    return embedded(rows, layers[:2], layers[2:])


@pytest.fixture
def rows():
    """(B, P, C), which lie one channel after another."""
    return integers(3, 4, 5).mT


@with_and_without_bias
def test_equals_torch(rows, biased):
    layers = layers_of(biased)
    found, expected = (
        both(rows, *layers),
        (F.linear(rows, *layers[:2]), F.linear(rows, *layers[2:])),
    )
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("second", [1, 3])
@with_and_without_bias
def test_derivatives(rows, biased, second):
    arguments = (rows, *layers_of(biased, second))
    torch.autograd.gradcheck(both, arguments, check_forward_ad=True, check_batched_grad=True)
    torch.autograd.gradgradcheck(both, arguments)


@pytest.mark.parametrize("frozen", [0, 1, 4])
def test_frozen_argument(rows, frozen):
    arguments = [
        tensor.detach().requires_grad_(k != frozen)
        for k, tensor in enumerate((rows, *layers_of(True)))
    ]
    torch.autograd.gradcheck(both, arguments)


@pytest.mark.parametrize("second", [1, 3])
@with_and_without_bias
def test_vmap(rows, biased, second):
    layers = layers_of(biased, second)

    def gradients(item):
        def squares(item, weight):
            found = both(item[None], weight, *layers[1:])
            return sum(part.square().sum() for part in found)

        return torch.func.grad(squares, (0, 1))(item, layers[0])

    expected = [torch.stack(parts) for parts in zip(*map(gradients, rows), strict=True)]
    found = torch.vmap(gradients)(rows)  # (B, P, C), (B, E, C)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_keeps_no_copy(rows):
    layers = layers_of(True)
    storages = {tensor.untyped_storage().data_ptr() for tensor in (rows, *layers)}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        both(rows, *layers)
    assert kept and {tensor.untyped_storage().data_ptr() for tensor in kept} <= storages


def test_one_gradient_of_the_rows_is_made(rows):
    layers = layers_of(True)
    found = both(rows, *layers)
    assert found[0].grad_fn is found[1].grad_fn
    (drows,) = torch.autograd.grad(found, rows, [torch.ones_like(part) for part in found])
    assert drows.mT.is_contiguous()  # one channel after another, as the rows
    assert torch.equal(drows, (layers[0].sum(0) + layers[2].sum(0)).expand_as(drows))


@pytest.fixture(params=["bias", "no bias"])
def bias(request):
    """(C,) or None."""
    return integers(4, seed=2) if request.param == "bias" else None


@pytest.fixture(params=[False, True], ids=["channels first", "channels last"])
def mapping(request, bias):
    """maps (B, C, D), rows (B, N, D), a bias (C,), and the memory of the result."""
    return integers(3, 4, 2), integers(3, 5, 2, seed=1), bias, request.param


def test_mapped_equals_torch(mapping):
    maps, rows, bias, channels_last = mapping
    expected = maps @ rows.mT + (0 if bias is None else bias[:, None])
    found = mapped(*mapping)  # (B, C, N)
    assert torch.equal(found, expected)
    assert (found.mT if channels_last else found).is_contiguous()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_derivatives_of_mapped(mapping):
    torch.autograd.gradcheck(mapped, mapping, check_forward_ad=True, check_batched_grad=True)
    torch.autograd.gradgradcheck(mapped, mapping)


def test_the_gradient_of_mapped_rows_lies_as_they_do(mapping):
    found = mapped(*mapping)
    (drows,) = torch.autograd.grad(found, mapping[1], torch.ones_like(found))
    assert drows.is_contiguous()
