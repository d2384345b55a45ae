import itertools

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import nlcore
import nlcore_torch.operation.gaussian
from nlcore import NonLocalSpec
from nlcore.reference.block import block, block_vjp
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_torch import non_local_block

CASES = {
    "1-D": ({"channels": 5, "ndim": 1, "bias": True}, (7,)),
    "2-D, odd sizes": ({"channels": 4, "ndim": 2, "subsample": (2, 2)}, (5, 7)),
    "at the input": (
        {"channels": 4, "subsample": (1, 2, 2), "subsample_at": "input", "bias": True},
        (2, 4, 5),
    ),
    "1-D, at the input": (
        {"channels": 3, "ndim": 1, "subsample": (2,), "subsample_at": "input"},
        (9,),
    ),
    "space": ({"channels": 4, "extent": "space", "subsample": (1, 2, 2)}, (3, 4, 4)),
    "time": ({"channels": 4, "extent": "time", "subsample": (2, 1, 1)}, (5, 2, 3)),
    "window": ({"channels": 4, "window": 2, "subsample": (1, 1, 2), "bias": True}, (4, 2, 4)),
    "D > C": ({"channels": 3, "inner_channels": 5, "ndim": 2, "batch_norm": False}, (3, 4)),
    "D = C": ({"channels": 4, "inner_channels": 4, "ndim": 2, "subsample": (1, 2)}, (3, 4)),
    "V > D": (
        {
            **{"channels": 4, "inner_channels": 2, "value_channels": 5, "ndim": 2},
            **{"subsample": (2, 2), "bias": "embeddings"},
        },
        (5, 7),
    ),
    "V < D, at the input": (
        {
            **{"channels": 4, "inner_channels": 5, "value_channels": 3, "bias": "embeddings"},
            **{"subsample": (1, 2, 2), "subsample_at": "input", "batch_norm": False},
        },
        (2, 4, 5),
    ),
    "V > D, not pooled": (
        {"channels": 4, "inner_channels": 3, "value_channels": 6, "ndim": 1, "bias": True},
        (7,),
    ),
    "scale": ({"channels": 4, "ndim": 2, "scale": -0.4}, (4, 3)),
    "one position": ({"channels": 4, "ndim": 2, "bias": True}, (1, 1)),
}
FUNCTIONS = list(itertools.product(PAIRWISE, NORMALIZATIONS))
each_function = pytest.mark.parametrize("pairwise, normalization", FUNCTIONS)


def make_spec(case: str, pairwise: str, normalization: str) -> tuple[NonLocalSpec, tuple[int, ...]]:
    fields, positions = CASES[case]
    if pairwise == "concatenation":
        fields = {**fields, "scale": 1.0, "pair_bias": bool(fields.get("bias"))}
    spec = NonLocalSpec(pairwise=pairwise, normalization=normalization, **fields)
    return spec, positions


def tensors(weights, dtype=torch.float64):
    return {name: torch.from_numpy(array).to(dtype) for name, array in weights.items()}


def assert_close(received, expected, ratio):
    """Elementwise within `ratio` of the largest element; NaN only where NaN is expected."""
    received = received.detach().double().numpy()
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=0, atol=ratio * np.abs(expected).max())


@pytest.mark.parametrize(
    "case, training",
    [(case, False) for case in CASES]
    # the others pool and fold in the same way whatever the form of batch normalization
    + [(case, True) for case in ("1-D", "2-D, odd sizes", "at the input", "scale")],
)
@each_function
def test_block_and_gradients_match_reference(pairwise, normalization, case, training, problem):
    spec, positions = make_spec(case, pairwise, normalization)
    check_block_and_gradients(spec, training, *problem(spec, positions))


@pytest.mark.parametrize("case", ["2-D, odd sizes", "time", "D = C", "V > D, not pooled"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian"])
def test_chunks_match_reference(pairwise, normalization, case, problem, monkeypatch):
    monkeypatch.setattr(nlcore_torch.operation.gaussian, "CHUNK", 16)
    monkeypatch.setattr(nlcore_torch.operation.gaussian, "takes", lambda *_: False)
    spec, positions = make_spec(case, pairwise, normalization)
    check_block_and_gradients(spec, False, *problem(spec, positions))


def check_block_and_gradients(spec, training, weights, x, dz):
    names = [name for name in weights if "running" not in name]
    w, xt = tensors(weights), torch.from_numpy(x).requires_grad_()
    for name in names:
        w[name].requires_grad_()
    z = non_local_block(spec, w, xt, training)
    dx, *dweights = torch.autograd.grad(z, [xt, *(w[name] for name in names)], torch.from_numpy(dz))
    # Every sum here has fewer than 1e3 terms and the problems amplify little, so that 1e-12,
    # about 1e4 roundoffs, is beyond rounding; a term left out or counted twice is 1e-3 or more.
    assert_close(z, block(spec, weights, x, training), 1e-12)
    expected_dx, expected = block_vjp(spec, weights, x, dz, training)
    assert_close(dx, expected_dx, 1e-12)
    scale = max(np.abs(array).max() for array in expected.values())
    for name, dweight in zip(names, dweights, strict=True):
        # relative to the largest gradient: some are 0, as theta.bias' for a single key
        np.testing.assert_allclose(dweight.numpy(), expected[name], rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", ["2-D, odd sizes", "at the input", "V > D"])
@pytest.mark.parametrize(
    "pairwise, normalization",
    # where C(x) is near 0, y is as large as it is ill-conditioned
    [function for function in FUNCTIONS if function != ("dot_product", "sum")],
)
def test_lower_precision(pairwise, normalization, case, dtype, problem):
    spec, positions = make_spec(case, pairwise, normalization)
    weights, x, _ = problem(spec, positions)
    x *= 0.5  # so that the Gaussian's f stays in float16's range
    w, xt = tensors(weights, dtype), torch.from_numpy(x).to(dtype)
    z = non_local_block(spec, w, xt)
    assert z.dtype == dtype
    rounded = {name: tensor.double().numpy() for name, tensor in w.items()}
    # some 10 roundings on the way to z: embeddings, f, sums, W_z, normalization, residual
    assert_close(z, block(spec, rounded, xt.double().numpy()), 16 * torch.finfo(dtype).eps)


@each_function
def test_gradcheck(pairwise, normalization, problem):
    spec = NonLocalSpec(
        2, 2, ndim=2, pairwise=pairwise, normalization=normalization, subsample=(1, 2), bias=True
    )
    weights, x, _ = problem(spec, (2, 2), seed=1)
    names = list(weights)[:-2]
    inputs = [torch.from_numpy(a) for a in (x, *(weights[name] for name in names))]
    running = {name: torch.from_numpy(weights[name]) for name in list(weights)[-2:]}

    def call(x, *values):
        return non_local_block(spec, dict(zip(names, values, strict=True)) | running, x, True)

    assert torch.autograd.gradcheck(call, [t.requires_grad_() for t in inputs], fast_mode=True)


def test_running_statistics_are_left_alone(problem):
    spec = NonLocalSpec(4, ndim=1)
    weights, x, _ = problem(spec, (5,))
    w = tensors(weights)
    non_local_block(spec, w, torch.from_numpy(x), training=True)
    for name in w:
        np.testing.assert_array_equal(w[name].numpy(), weights[name])


def test_one_value_per_channel_has_no_variance(problem):
    spec = NonLocalSpec(4, ndim=2, pairwise="dot_product")
    weights, x, _ = problem(spec, (1, 1), batch=1)
    xt = torch.from_numpy(x).requires_grad_()
    z = non_local_block(spec, tensors(weights), xt, training=True)
    expected = x + weights["bn.bias"].reshape(1, 4, 1, 1)
    np.testing.assert_array_equal(z.detach().numpy(), expected)
    z.sum().backward()
    np.testing.assert_array_equal(xt.grad.numpy(), np.ones_like(x))


@pytest.mark.parametrize("pairwise", ["dot_product", "concatenation", "embedded_gaussian"])
def test_per_sample_gradients(pairwise, problem):
    spec = NonLocalSpec(4, ndim=1, pairwise=pairwise, normalization="count", subsample=(2,))
    weights, x, _ = problem(spec, (6,), batch=3)
    w, x = tensors(weights), torch.from_numpy(x)

    def loss(w, x):
        return non_local_block(spec, w, x).square().sum()

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0))(w, x.unsqueeze(1))
    together = torch.func.grad(loss)(w, x)
    for name, expected in together.items():
        torch.testing.assert_close(gradients[name].sum(0), expected, rtol=0, atol=1e-12)


@each_function
def test_ties_go_to_the_first_position(pairwise, normalization, problem):
    spec = NonLocalSpec(
        4, ndim=3, pairwise=pairwise, normalization=normalization, subsample=(2, 2, 2)
    )
    weights, x, dz = problem(spec, (2, 4, 4))
    x[..., 1:, :, :] = x[..., :1, :, :]  # the frames are equal, so each maximum stands twice
    xt = torch.from_numpy(x).requires_grad_()
    dx = torch.autograd.grad(non_local_block(spec, tensors(weights), xt), xt, torch.from_numpy(dz))
    assert_close(dx[0], block_vjp(spec, weights, x, dz)[0], 1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", ["1-D", "at the input", "window"])
@each_function
def test_not_finite_values_spread_as_in_the_reference(
    pairwise, normalization, case, value, problem
):
    spec, positions = make_spec(case, pairwise, normalization)
    weights, x, _ = problem(spec, positions)
    x[0, 1].flat[0] = value
    z = non_local_block(spec, tensors(weights), torch.from_numpy(x)).numpy()
    assert np.isfinite(z[1]).all() and not np.isfinite(z[0]).all()
    if pairwise == "concatenation" and np.isinf(value):
        return  # (w^T W) x is infinite where w^T (W x) may be infinity - infinity
    with np.errstate(all="ignore"):
        expected = block(spec, weights, x)
    np.testing.assert_array_equal(np.isfinite(z), np.isfinite(expected))


@each_function
def test_any_strides(pairwise, normalization, problem):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization, subsample=(1, 2, 2))
    weights, x, _ = problem(spec, (2, 4, 5))
    w, x = tensors(weights), torch.from_numpy(x)
    channels_last = x.contiguous(memory_format=torch.channels_last_3d)
    forms = [
        channels_last,
        x.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0),
        torch.stack([x, x], -1)[..., 1],
    ]
    expected = non_local_block(spec, w, x)
    for form in forms:
        torch.testing.assert_close(non_local_block(spec, w, form), expected, rtol=1e-12, atol=1e-13)
    z = non_local_block(spec, w, channels_last)
    assert z.is_contiguous(memory_format=torch.channels_last_3d)
    frame = x[:, :, :1].expand(-1, -1, 2, -1, -1)
    expected = non_local_block(spec, w, frame.clone())
    torch.testing.assert_close(non_local_block(spec, w, frame), expected, rtol=1e-12, atol=1e-13)


class LargestTensor(TorchDispatchMode):
    """Records the most elements that any result's storage had."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for tensor in results if isinstance(results, (tuple, list)) else (results,):
            if isinstance(tensor, torch.Tensor):
                size = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.elements = max(self.elements, size)
        return results


@pytest.mark.parametrize("inner, values", [(4, 4), (8, 8), (2, 8), (8, 3)])
@each_function
def test_no_tensor_grows_with_n_times_m(
    pairwise, normalization, inner, values, problem, monkeypatch
):
    monkeypatch.setattr(nlcore_torch.operation.gaussian, "CHUNK", 1 << 15)
    functions = {"pairwise": pairwise, "normalization": normalization}
    spec = NonLocalSpec(8, inner, ndim=2, value_channels=values, scale=1.0, **functions)
    weights, x, _ = problem(spec, (24, 24), batch=1)
    w, xt = tensors(weights), torch.from_numpy(x).requires_grad_()
    with LargestTensor() as largest:
        non_local_block(spec, w, xt, training=True).sum().backward()
    assert 0 < largest.elements <= 1 << 15  # N M is 10 times as much


def test_input_is_checked_before_any_work(problem):
    spec = NonLocalSpec(4, ndim=2, subsample=(2, 2))
    weights, x, _ = problem(spec, (4, 4))
    w, x = tensors(weights), torch.from_numpy(x)
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor; received ndarray"):
        non_local_block(spec, w, x.numpy())
    with pytest.raises(TypeError, match=r"x must be floating point.*received dtype int64"):
        non_local_block(spec, w, x.long())
    with pytest.raises(ValueError, match=r"shape \(B, 4, H, W\); received shape \(2, 4, 4\)"):
        non_local_block(spec, w, x[..., 0])
    with pytest.raises(ValueError, match=r"must have 4 channels.*received shape \(2, 3, 4, 4\)"):
        non_local_block(spec, w, x[:, 1:])
    with pytest.raises(ValueError, match=r"no axis of size 0; received shape \(2, 4, 0, 4\)"):
        non_local_block(spec, w, x[:, :, :0])
    with pytest.raises(ValueError, match="axis H must be at least its pooling window 2"):
        non_local_block(spec, w, x[:, :, :1])
    with pytest.raises(ValueError, match="window=3 must divide T; received T=2"):
        spec_3d = NonLocalSpec(4, window=3)
        non_local_block(spec_3d, tensors(problem(spec_3d, (3, 1, 1))[0]), x.unflatten(2, (2, 2)))


def test_weights_are_checked_before_any_work(problem):
    spec = NonLocalSpec(4, ndim=1)
    weights, x, _ = problem(spec, (4,))
    w, x = tensors(weights), torch.from_numpy(x)
    with pytest.raises(TypeError, match="weights must be a mapping"):
        non_local_block(spec, list(w), x)
    with pytest.raises(ValueError, match=r"'g.weight' is missing: expected shape \(2, 4\)"):
        non_local_block(spec, {n: t for n, t in w.items() if n != "g.weight"}, x)
    with pytest.raises(ValueError, match=r"'g.weight' must have shape \(2, 4\).*\(4, 2\)"):
        non_local_block(spec, w | {"g.weight": w["g.weight"].mT}, x)
    with pytest.raises(ValueError, match=r"'f.weight' is not used"):
        non_local_block(spec, w | {"f.weight": x}, x)
    with pytest.raises(TypeError, match=r"'g.weight' must be a tensor; received ndarray"):
        non_local_block(spec, w | {"g.weight": weights["g.weight"]}, x)
    with pytest.raises(TypeError, match=r"received x torch.float32 and weight torch.float64"):
        non_local_block(spec, w, x.float())


def test_normalization_may_stay_in_float32(problem):
    spec = NonLocalSpec(4, ndim=2)
    weights, x, _ = problem(spec, (4, 4))
    w = {
        name: tensor.to(torch.float32 if name.startswith("bn.") else torch.bfloat16)
        for name, tensor in tensors(weights).items()
    }
    z = non_local_block(spec, w, torch.from_numpy(x).bfloat16())
    assert z.dtype == torch.bfloat16
    assert_close(z, nlcore.block(spec, weights, x), 0.05)


def test_evaluation_uses_the_running_statistics_for_one_value_per_channel(problem):
    spec = NonLocalSpec(4, ndim=2)
    weights, x, _ = problem(spec, (1, 1), batch=1)
    found = non_local_block(spec, tensors(weights), torch.from_numpy(x), training=False)
    right = nlcore.block(spec, weights, x)
    by_batch = nlcore.block(spec, weights, x, training=True)
    assert np.abs(right - by_batch).max() > 0.01
    np.testing.assert_allclose(found.numpy(), right, rtol=1e-10)
