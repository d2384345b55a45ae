"""Ways in which the Gaussians are computed: tiles where theta and phi are one tensor, and chunks of
which a memory budget keeps some.
"""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

import nlcore_torch
from nlcore import NonLocalSpec, block_cost
from nlcore.spec import NORMALIZATIONS
from nlcore_torch import NonLocalBlock, non_local_block, non_local_operation
from nlcore_torch.operation import gaussian
from nlcore_torch.operation.embeddings import embeddings
from nlcore_torch.operation.pairs import chunks, tiles

SIZES = {"batch": 2, "positions": 37, "channels": 3, "values": 2}
CHUNK = 2 * 32 * 32  # tiles of 32 rows, of which the last has 5


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(gaussian, "CHUNK", CHUNK // 2)


def rows(seed=0, **sizes):
    """x (B, N, C) and g (B, N, V), float64."""
    b, n, c, v = (SIZES | sizes).values()
    generator = torch.Generator().manual_seed(seed)
    made = (torch.randn(b, n, k, generator=generator, dtype=torch.float64) for k in (c, v))
    return [array.requires_grad_() for array in made]


def response(normalization, x, phi, g, scale=0.7):
    spec = NonLocalSpec(4, pairwise="gaussian", normalization=normalization, scale=scale)
    return non_local_operation(spec, x, phi, g)


def gradients(normalization, x, phi, g, **options):
    y = response(normalization, x, phi, g, **options)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=y.dtype)
    return y.detach(), *torch.autograd.grad(y, [x, g], dy)


def counted(monkeypatch, module, name):
    """A list that receives an entry at every call of a function."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a: (calls.append(name), function(*a))[1])
    return calls


@pytest.mark.parametrize("scale", [0.7, 1.0, -0.4])
@pytest.mark.parametrize("positions", [33, 37, 64, 97])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_tiles_compute_what_chunks_compute(normalization, positions, scale, monkeypatch):
    calls = counted(monkeypatch, tiles, "_gradients_in_tiles")
    x, g = rows(positions=positions)
    found = gradients(normalization, x, x, g, scale=scale)
    assert calls
    calls.clear()
    expected = gradients(normalization, x, x.view_as(x), g, scale=scale)
    assert not calls
    for array, wanted in zip(found, expected, strict=True):
        # at most 97 terms of a sum, whose exponents reach about 10
        torch.testing.assert_close(array, wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()))


def test_tiles_multiply_once_for_both_orders(monkeypatch):
    products = counted(monkeypatch, tiles, "write_scaled_product")
    x, g = rows(positions=128, batch=1)
    gradients("sum", x, x, g)
    assert len(products) == 2 * (4 * 5 // 2)  # each direction: the pairs of 4 blocks of 32 rows


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [0, 20, 36])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_not_finite_rows_spread_as_in_chunks(normalization, place, bad):
    x, g = rows()
    with torch.no_grad():
        x[0, place, 1] = bad
    found, expected = (gradients(normalization, x, phi, g) for phi in (x, x.view_as(x)))
    assert torch.equal(found[0].isfinite(), expected[0].isfinite())
    for array, wanted in zip(found[1:], expected[1:], strict=True):
        assert array[1].isfinite().all() and wanted[1].isfinite().all()


def test_logits_of_minus_infinity_in_a_whole_tile():
    x, g = rows(batch=1, positions=64, channels=1)
    with torch.no_grad():
        x.copy_(torch.ones(1, 64, 1))
        x[0, :32] = -torch.inf  # the first tile of a finite query has weights 0
    y = response("sum", x, x, g).detach()
    torch.testing.assert_close(y[0, 40], g[0, 32:].mean(0).detach(), rtol=1e-12, atol=1e-13)
    assert y[0, :32].isnan().all()


def test_large_logits_do_not_overflow():
    x, g = rows()
    found, expected = (
        gradients("sum", x, phi, g, scale=400.0) for phi in (x, x.view_as(x))
    )  # logits of thousands
    torch.testing.assert_close(found[0], expected[0], rtol=1e-9, atol=1e-12)
    assert all(array.isfinite().all() for array in found)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_second_derivatives_in_tiles(normalization):
    x, g = rows(batch=1, positions=34, channels=1, values=1)

    def call(x, g):
        return response(normalization, x, x, g, scale=0.3)

    assert torch.autograd.gradcheck(call, [x, g], fast_mode=True)
    assert torch.autograd.gradgradcheck(call, [x, g], fast_mode=True)


@pytest.mark.parametrize("same", [True, False])
def test_vmap_of_gradients(same):
    x, g = rows(batch=3)

    def loss(x, g):
        return response("sum", x, x if same else x.view_as(x), g).square().sum()

    expected = torch.autograd.grad(loss(x, g), [x, g])
    items = [array.detach().unsqueeze(1) for array in (x, g)]  # (3, 1, N, ...)
    found = torch.func.vmap(torch.func.grad(loss, (0, 1)))(*items)
    for array, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(array.squeeze(1), wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("same", [True, False])
def test_vmap_of_products_with_the_jacobian(same):
    x, g = rows()
    y = response("sum", x, x if same else x.view_as(x), g)
    dys = torch.randn(4, *y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad(y, [x, g], dys, is_grads_batched=True, retain_graph=True)
    for number, dy in enumerate(dys):
        expected = torch.autograd.grad(y, [x, g], dy, retain_graph=True)
        for array, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(array[number], wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("extent", [{}, {"extent": "space"}, {"window": 2}])
def test_theta_and_phi_are_one_tensor_if_nothing_is_pooled(extent):
    x = torch.randn(1, 4, 4, 3, 2)
    for subsample in (None, (1, 2, 2)):
        spec = NonLocalSpec(4, pairwise="gaussian", subsample=subsample, **extent)
        theta, phi, _ = embeddings(spec, {"g.weight": torch.ones(2, 4)}, x)
        assert (theta is phi) == (subsample is None)


def kept_by(block, x):
    """Bytes that the forward direction keeps for the gradients, without those of x and weights."""
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        z = block(x)
    return sum(size for size, _ in storages.values()), z


@pytest.mark.parametrize("values", [4, 3])  # of 4, a kernel computes y where no w is kept
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian"])
def test_a_budget_is_spent_and_changes_no_value(pairwise, values, monkeypatch):
    fields = {"pairwise": pairwise, "subsample": (2, 2), "ndim": 2, "value_channels": values}
    x = torch.randn(1, 8, 24, 24, dtype=torch.float64, requires_grad=True)
    blocks = NonLocalBlock(8, 4, identity=False, dtype=torch.float64, **fields)
    dz = torch.randn(x.shape, dtype=x.dtype)
    chunk = 1024 // 144 * 144 * 8  # bytes: rows of 144 keys that 1,024 elements hold
    found = {}
    for budget in (0, chunk - 1, chunk, 10 * chunk, 10**9):
        products = counted(monkeypatch, chunks, "write_scaled_product")
        blocks.memory_budget = budget
        kept, z = kept_by(blocks, x)
        grads = torch.autograd.grad(z, [x, *blocks.parameters()], dz)
        found[budget] = kept, len(products), z, *grads
        monkeypatch.undo()
        monkeypatch.setattr(gaussian, "CHUNK", CHUNK // 2)
    pairs = 576 * 144 * 8  # bytes of all w
    extra = [kept - found[0][0] for kept, *_ in found.values()]
    assert extra == [0, 0, chunk, 10 * chunk, pairs]
    count = found[0][1]
    assert [n for _, n, *_ in found.values()] == [count, count, count - 1, count - 10, 0]
    for _, _, *arrays in found.values():
        for array, wanted in zip(arrays, found[0][2:], strict=True):
            torch.testing.assert_close(array, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("window", [(2, 2), (4, 4)])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian"])
def test_the_default_budget_is_linear(pairwise, window):
    fields = {"pairwise": pairwise, "subsample": window, "ndim": 2, "identity": False}
    x = torch.randn(1, 8, 24, 24, dtype=torch.float64, requires_grad=True)
    block = NonLocalBlock(8, 2, dtype=torch.float64, **fields)
    kept, _ = kept_by(block, x)
    block.memory_budget = 0
    without, _ = kept_by(block, x)
    keys, width = 576 // window[0] ** 2, 8 if pairwise == "gaussian" else 2
    weights = (kept - without) // 8
    assert weights == gaussian.kept_weights(576, keys, width)
    assert weights <= 8 * width * 576
    assert (weights == 576 * keys) == (keys <= 8 * width)
    if window == (2, 2):
        report = nlcore_torch.execution(block.spec, (24, 24)).kept
        assert report == block_cost.execution(block.spec, (24, 24), None).kept + weights


def test_no_gradient_of_stored_weights_is_allocated(monkeypatch):
    given = []
    backward = chunks.InChunks.backward
    monkeypatch.setattr(
        chunks.InChunks,
        "backward",
        staticmethod(lambda ctx, *d: (given.append(d), backward(ctx, *d))[1]),
    )
    block = NonLocalBlock(8, 4, 2, subsample=(2, 2), identity=False, memory_budget=1 << 30)
    block(torch.randn(1, 8, 24, 24)).sum().backward()
    ((_, *others),) = given
    assert others and all(d is None for d in others)


def test_a_budget_stores_nothing_without_gradients(monkeypatch):
    kept = []
    forward = chunks.InChunks.forward
    monkeypatch.setattr(
        chunks.InChunks, "forward", staticmethod(lambda *a: (kept.append(a[-1]), forward(*a))[1])
    )
    block = NonLocalBlock(8, 4, 2, subsample=(2, 2), memory_budget=1 << 30)
    with torch.no_grad():
        block(torch.randn(1, 8, 24, 24))
    assert kept == [0]


def test_second_derivatives_with_a_budget():
    x, g = rows(batch=1, positions=64, channels=1, values=1)
    spec = NonLocalSpec(4, pairwise="gaussian")

    def call(x, phi, g):
        return non_local_operation(spec, x, phi, g, memory_budget=1 << 20)

    phi = x.detach().flip(1).contiguous().requires_grad_()
    assert torch.autograd.gradgradcheck(call, [x, phi, g], fast_mode=True)


@pytest.mark.parametrize(
    ("budget", "error"), [(-1, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_bad_budgets(budget, error):
    with pytest.raises(error, match=f"memory_budget must .*; received {budget}"):
        NonLocalBlock(4, memory_budget=budget)
    spec = NonLocalSpec(1, 1, ndim=1, pairwise="dot_product", batch_norm=False)
    weights = {f"{name}.weight": torch.ones(1, 1) for name in ("theta", "phi", "g", "out")}
    with pytest.raises(error, match="memory_budget must"):
        non_local_block(spec, weights, torch.ones(1, 1, 2), memory_budget=budget)
    with pytest.raises(error, match="memory_budget must"):
        non_local_operation(spec, *[torch.ones(1, 1, 2)] * 3, memory_budget=budget)


def test_the_budget_is_shown():
    assert "memory_budget=7" in repr(NonLocalBlock(4, memory_budget=7))
    assert "memory_budget" not in repr(NonLocalBlock(4))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("subsample", [None, (2, 2)])
def test_chunks_are_compiled_without_a_graph_break(subsample):
    fields = {"pairwise": "gaussian", "subsample": subsample, "dtype": torch.float64}
    block = NonLocalBlock(4, 2, 2, identity=False, memory_budget=1 << 20, **fields)
    x = torch.randn(1, 4, 16, 16, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    found, expected = (
        torch.autograd.grad(module(x).square().sum(), [x, *block.parameters()])
        for module in (compiled, block)
    )
    torch._dynamo.reset()
    for array, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(array, wanted, rtol=1e-9, atol=1e-9)
