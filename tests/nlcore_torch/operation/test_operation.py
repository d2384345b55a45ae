import itertools

import numpy as np
import pytest
import torch

import nlcore_torch.operation.gaussian
from nlcore import NonLocalSpec
from nlcore.reference.operation import operation
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_torch import NonLocalBlock, non_local_operation

FUNCTIONS = list(itertools.product(PAIRWISE, NORMALIZATIONS))
each_function = pytest.mark.parametrize("pairwise, normalization", FUNCTIONS)


def make(pairwise, normalization="sum", n=5, m=4, d=3, v=2, seed=0, **fields):
    """A spec and float64 tensors theta, phi, g and, for concatenation, f_weight and f_bias."""
    spec = NonLocalSpec(8, pairwise=pairwise, normalization=normalization, **fields)
    rng = np.random.default_rng(seed)
    shapes = [(2, n, d), (2, m, d), (2, m, v)]
    if pairwise == "concatenation":
        shapes += [(2 * d,), ()]
    return spec, [torch.from_numpy(np.asarray(rng.normal(size=shape))) for shape in shapes]


@pytest.mark.parametrize("sizes", [(5, 4, 3, 2), (4, 7, 3, 3), (1, 1, 1, 1), (40, 30, 8, 8)])
@each_function
def test_matches_reference(pairwise, normalization, sizes):
    spec, arguments = make(pairwise, normalization, *sizes)
    expected = operation(spec, *(t.numpy() for t in arguments))
    y = non_local_operation(spec, *arguments).numpy()
    # up to 40 terms a sum; the dot product's total may be small beside its terms
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize(("n", "m"), [(3, 4), (4, 3)])
@each_function
def test_first_and_second_derivatives(pairwise, normalization, n, m):
    spec, arguments = make(pairwise, normalization, n=n, m=m, d=2, v=2)
    arguments = [t.requires_grad_() for t in arguments]

    def call(*arguments):
        return non_local_operation(spec, *arguments)

    assert torch.autograd.gradcheck(call, arguments)
    assert torch.autograd.gradgradcheck(call, arguments, fast_mode=True)


# torch compiles its own rules of the forward mode by what it has deprecated
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("n", "m"), [(3, 4), (4, 3)])
@each_function
def test_forward_mode_under_vmap(pairwise, normalization, n, m):
    spec, arguments = make(pairwise, normalization, n=n, m=m, d=2, v=2)
    rng = np.random.default_rng(1)
    tangents = [torch.from_numpy(np.asarray(rng.normal(size=(2, *t.shape)))) for t in arguments]

    def call(*arguments):
        return non_local_operation(spec, *arguments)

    def pushed(*tangents):
        return torch.func.jvp(call, tuple(arguments), tangents)[1]

    found = torch.func.vmap(pushed)(*tangents)  # (2, B, N, V)
    step = 1e-6
    for dy, *d in zip(found, *tangents, strict=True):
        ahead, behind = (
            call(*(t + s * dt for t, dt in zip(arguments, d, strict=True))) for s in (step, -step)
        )
        torch.testing.assert_close(dy, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("v", [1, 2])  # 2: a fused kernel takes it
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_derivatives_in_chunks(normalization, v, monkeypatch):
    monkeypatch.setattr(nlcore_torch.operation.gaussian, "CHUNK", 12)
    spec, arguments = make("gaussian", normalization, n=3, m=3, d=2, v=v, scale=-0.7)
    arguments = [t.requires_grad_() for t in arguments]

    def call(*arguments):
        return non_local_operation(spec, *arguments)

    assert torch.autograd.gradcheck(call, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, arguments, fast_mode=True)


@pytest.mark.parametrize("v", [2, 3])
@pytest.mark.parametrize("scale", [-3.0, -0.2, 0.0, 0.2])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("pairwise", ["gaussian", "dot_product"])
def test_scale(pairwise, normalization, scale, v):
    spec, arguments = make(pairwise, normalization, v=v, scale=scale)
    expected = operation(spec, *(t.numpy() for t in arguments))
    y = non_local_operation(spec, *arguments).numpy()
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("pairwise", ["dot_product", "concatenation"])
def test_where_c_is_0_so_are_y_and_its_gradient(pairwise):
    spec, (theta, phi, g, *f) = make(pairwise, "sum")
    theta[0, 0] = 0.0
    if f:
        f = [torch.full_like(f[0], 0.5), torch.tensor(-100.0, dtype=torch.float64)]
        theta[1, 1] = 200.0  # the one row that is not all 0
    arguments = [t.requires_grad_() for t in (theta, phi, g, *f)]
    y = non_local_operation(spec, *arguments)
    assert (y[0, 0] == 0).all() and (y[1, 1] != 0).all()
    grads = torch.autograd.grad(y[0, 0].sum(), arguments)
    assert all((grad == 0).all() for grad in grads)


def test_derivative_of_relu_at_0_is_0():
    spec, (theta, phi, g, weight, bias) = make("concatenation", "count", d=1)
    weight, bias = torch.ones_like(weight), torch.zeros_like(bias)
    theta, phi = torch.full_like(theta, 0.5).requires_grad_(), torch.full_like(phi, -0.5)
    y = non_local_operation(spec, theta, phi, g, weight, bias)
    assert (y == 0).all()
    assert (torch.autograd.grad(y.sum(), theta)[0] == 0).all()


@pytest.mark.parametrize("queries", [1, 4])
def test_concatenation_does_not_cancel(queries):
    # a_i + b_1 is tiny beside a_i and b_1, and only b_1 is active: y_i is g_1 to the last bit
    spec = NonLocalSpec(4, pairwise="concatenation", normalization="sum")
    theta = torch.tensor([-1.0, -2.0, -2.0, -3.0])[:queries].view(1, -1, 1)
    phi = torch.tensor([[[-3.0], [1.0 + 2**-22], [0.5]]])
    g = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(0))
    y = non_local_operation(spec, theta, phi, g, torch.ones(2))
    torch.testing.assert_close(y[0, 0], g[0, 1], rtol=0, atol=0)


def test_sums_of_many_equal_terms_do_not_drift():
    # within 17 u; added one after another in float32, 20,000 equal terms are 2,500 u off
    spec = NonLocalSpec(4, pairwise="concatenation", normalization="count")
    theta, phi, g = (torch.full((1, n, 1), 0.1) for n in (10, 20_000, 20_000))
    arguments = [theta.requires_grad_(), phi.requires_grad_(), g.requires_grad_(), torch.ones(2)]
    y = non_local_operation(spec, *arguments)
    torch.testing.assert_close(y, torch.full_like(y, 0.02), rtol=1e-6, atol=0)
    y_sum = non_local_operation(spec, phi, theta, g[:, :10], torch.ones(2)).sum()
    dg = torch.autograd.grad(y_sum, g)[0][0, :10]  # 20,000 f / 10 each
    torch.testing.assert_close(dg, torch.full_like(dg, 400.0), rtol=1e-6, atol=0)


def test_equal_logits_are_all_counted():
    spec, (theta, _, g, weight, bias) = make("concatenation", "count", m=6)
    phi = theta[:, :1].expand(-1, 6, -1)
    expected = operation(spec, *(t.numpy() for t in (theta, phi, g, weight, bias)))
    y = non_local_operation(spec, theta, phi, g, weight, bias)
    np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", range(3))
@each_function
def test_not_finite_values_spread_as_in_the_reference(pairwise, normalization, which, value):
    for v, m in itertools.product((2, 3), (4, 7)):
        spec, arguments = make(pairwise, normalization, v=v, m=m)
        arguments[which][0, 1, 1] = value
        with np.errstate(all="ignore"):
            expected = operation(spec, *(t.numpy() for t in arguments))
        y = non_local_operation(spec, *arguments).numpy()
        np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))


@pytest.mark.parametrize("which", ["theta", "phi"])
def test_a_row_of_nan_is_no_masked_row(which):
    # the fused kernel's own answer for a row whose logits are all NaN is 0
    spec = NonLocalSpec(64, pairwise="embedded_gaussian")
    theta, phi, g = torch.ones(1, 3, 32), torch.ones(1, 1, 32), torch.ones(1, 1, 32)
    {"theta": theta, "phi": phi}[which][0, -1, 0] = torch.nan
    lost = non_local_operation(spec, theta, phi, g).isnan().all(-1)
    assert lost.tolist() == [[which == "phi", which == "phi", True]]


@pytest.mark.parametrize("chunk", [1, 1 << 21])
def test_no_finite_key_is_no_masked_row(chunk, monkeypatch):
    monkeypatch.setattr(nlcore_torch.operation.gaussian, "CHUNK", chunk)
    spec = NonLocalSpec(4, pairwise="embedded_gaussian")
    theta, phi, g = torch.ones(1, 3, 2), torch.full((1, 2, 2), -torch.inf), torch.ones(1, 2, 2)
    assert non_local_operation(spec, theta, phi, g).isnan().all()  # -inf - -inf
    phi[0, 0] = 0
    assert torch.equal(non_local_operation(spec, theta, phi, g), torch.ones(1, 3, 2))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([np.inf, 2], [3, 1]),
        ([1, 2], [np.inf, 1]),
        ([1, 2], [np.inf, np.inf]),
        ([-np.inf], [1, np.inf]),
    ],
)
def test_infinite_logits_of_the_concatenation(a, b):
    a, b = (np.array([row], float)[..., None] for row in (a, b))  # (1, N, 1), (1, M, 1)
    spec = NonLocalSpec(2, 1, pairwise="concatenation")
    arguments = (a, b, np.ones_like(b), np.ones(2))
    y = non_local_operation(spec, *(torch.from_numpy(array) for array in arguments))
    np.testing.assert_array_equal(y.numpy(), operation(spec, *arguments))


@pytest.mark.parametrize("subsample", [None, (2, 2)])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_the_meta_device(pairwise, subsample):
    block = NonLocalBlock(4, ndim=2, pairwise=pairwise, subsample=subsample, device="meta")
    x = torch.empty(2, 4, 6, 5, device="meta", requires_grad=True)
    z = block(x)
    assert (z.shape, z.device.type) == (x.shape, "meta")
    assert torch.autograd.grad(z.sum(), x)[0].shape == x.shape


def test_a_sum_out_of_half_precision_range_is_divided_back():
    spec = NonLocalSpec(4, pairwise="dot_product", normalization="sum")
    row = torch.full((1, 1, 2), 100.0, dtype=torch.float16)  # f = 2e4, f g = 2e6
    torch.testing.assert_close(non_local_operation(spec, row, row, row), row, rtol=0, atol=0)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_half_precision_sums_stay_in_range(normalization):
    # sum_j f_ij g_j is 2e5, beyond float16's 65504; y is 100 or 1
    for pairwise in ("dot_product", "concatenation"):
        spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
        ones = torch.ones(1, 2000, 1, dtype=torch.float16)
        f = [torch.tensor([50.0, 5.0], dtype=torch.float16)] if pairwise == "concatenation" else []
        y = non_local_operation(spec, 10 * ones, 10 * ones, ones, *f)
        f_value = 550.0 if f else 100.0
        assert y.dtype == torch.float16
        assert (y == (f_value if normalization == "count" else 1.0)).all()


def test_half_precision_exponentials_are_not_divided_into_subnormals():
    # exp(-8) / 2000 is below float16's smallest number
    spec = NonLocalSpec(4, pairwise="gaussian", normalization="count")
    theta = torch.full((1, 3, 1), -8.0, dtype=torch.float16)
    phi = torch.ones(1, 2000, 1, dtype=torch.float16)
    y = non_local_operation(spec, theta, phi, 100 * phi)
    torch.testing.assert_close(
        y.double(), torch.full((1, 3, 1), 100 * np.exp(-8.0)).double(), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_autocast_keeps_logits_in_float32(pairwise):
    # 3 + 2^-8 is no bfloat16 number
    spec, arguments = make(pairwise, "count" if "gaussian" in pairwise else None)
    arguments = [t.float() for t in arguments]
    with torch.autocast("cpu", torch.bfloat16):
        y = non_local_operation(spec, *arguments)
    expected = operation(spec, *(t.numpy() for t in arguments))
    ratio = 2**-7 if pairwise == "dot_product" else 1e-6
    np.testing.assert_allclose(
        y.double().numpy(), expected, rtol=0, atol=ratio * np.abs(expected).max()
    )


def test_bad_arguments():
    spec, (theta, phi, g) = make("dot_product")
    with pytest.raises(TypeError, match="theta must be a tensor; received ndarray"):
        non_local_operation(spec, theta.numpy(), phi, g)
    with pytest.raises(TypeError, match=r"phi must be floating point, .* received dtype int64"):
        non_local_operation(spec, theta, phi.long(), g)
    with pytest.raises(TypeError, match=r"g must have theta's dtype float64; received float32"):
        non_local_operation(spec, theta, phi, g.float())
    shapes = r"theta, phi and g must have shapes .* received theta"
    for wrong in (
        (theta[0], phi, g),
        (theta[:1], phi, g),
        (theta[..., :2], phi, g),
        (theta, phi[:, 1:], g),
        (theta, phi, g[..., :0]),
    ):
        with pytest.raises(ValueError, match=shapes):
            non_local_operation(spec, *wrong)


def test_bad_pair_weights():
    spec, (theta, phi, g, weight, bias) = make("concatenation")
    with pytest.raises(ValueError, match=r"f_weight must .* for pairwise='concatenation'"):
        non_local_operation(spec, theta, phi, g)
    with pytest.raises(ValueError, match=r"f_weight must have shape \(6,\).*received shape \(5,\)"):
        non_local_operation(spec, theta, phi, g, weight[1:])
    with pytest.raises(ValueError, match=r"f_bias must have shape \(\).*received shape \(1,\)"):
        non_local_operation(spec, theta, phi, g, weight, bias[None])
    gaussian = NonLocalSpec(8)
    with pytest.raises(ValueError, match=r"f_weight must .*'embedded_gaussian'"):
        non_local_operation(gaussian, theta, phi, g, weight)
    with pytest.raises(ValueError, match="f_bias is the concatenation's"):
        non_local_operation(gaussian, theta, phi, g, f_bias=bias)
