import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

from nlcore import NonLocalSpec, block, init_weights, weight_shapes
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_torch import NonLocalBlock, non_local_block

FUNCTIONS = list(itertools.product(PAIRWISE, NORMALIZATIONS))
each_function = pytest.mark.parametrize("pairwise, normalization", FUNCTIONS)


def random_x(channels=4, positions=(2, 3, 5), seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, *positions, generator=generator).to(dtype)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("bias, values", [(True, 2), (False, 5), ("embeddings", 1)])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_state_dict_has_the_names_and_shapes_of_the_spec(pairwise, bias, values, batch_norm):
    pair_bias = bias is True and pairwise == "concatenation"
    biases = {"bias": bias, "pair_bias": pair_bias}
    module = NonLocalBlock(
        6, 2, 2, value_channels=values, pairwise=pairwise, batch_norm=batch_norm, **biases
    )
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert shapes == weight_shapes(module.spec)
    weights = init_weights(module.spec, np.random.default_rng(0), identity=False)
    plain = {name: torch.from_numpy(array).float() for name, array in weights.items()}
    module.load_state_dict(plain)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, plain[name], rtol=0, atol=0)
    with pytest.raises(RuntimeError, match=r'Missing key\(s\).*"g.weight"'):
        module.load_state_dict({n: t for n, t in plain.items() if n != "g.weight"})
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\).*"bn.other"'):
        module.load_state_dict(plain | {"bn.other": plain["g.weight"]})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@each_function
def test_starts_as_the_identity(pairwise, normalization, dtype, batch_norm, training):
    module = NonLocalBlock(
        4,
        pairwise=pairwise,
        normalization=normalization,
        scale=0.1 if "gaussian" in pairwise else 1.0,
        subsample=(1, 2, 2),
        bias=True,
        batch_norm=batch_norm,
        dtype=dtype,
    ).train(training)
    x = random_x(dtype=dtype)
    assert torch.equal(module(x), x)


def test_does_not_start_as_the_identity_where_not_asked():
    x = random_x()
    for batch_norm in (True, False):
        module = NonLocalBlock(4, batch_norm=batch_norm, identity=False)
        assert not torch.allclose(module(x), x)


def test_initial_weights():
    torch.manual_seed(0)
    options = {"pairwise": "concatenation", "pair_bias": True, "bias": True, "identity": False}
    module = NonLocalBlock(256, 512, **options)
    assert module.theta.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert module.out.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    assert module.f.weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.1)
    for part in (module.theta, module.phi, module.g, module.out, module.f):
        weight = part.weight  # of mean 0, within 5 standard errors
        assert abs(weight.mean()) < 5 * weight.std() / weight.numel() ** 0.5
    assert module.f.bias.item() == 0
    for layer in (module.theta, module.phi, module.g, module.out, module.bn):
        assert (layer.bias == 0).all()
    assert (module.bn.weight == 1).all()
    normal = NonLocalBlock(256, init="normal", **options)
    assert normal.g.weight.std().item() == pytest.approx(0.01, rel=0.02)
    with pytest.raises(ValueError, match=r"init must be one of .* received 'xavier'"):
        NonLocalBlock(4, init="xavier")


def test_seed_decides_the_weights():
    def drawn(seed):
        torch.manual_seed(seed)
        return torch.cat([t.flatten() for t in NonLocalBlock(4).state_dict().values()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_reset_parameters_restores_the_identity():
    x = random_x()
    module = NonLocalBlock(4)
    torch.nn.init.ones_(module.bn.weight)
    module(x)
    assert not torch.equal(module(x), x)
    module.reset_parameters()
    assert torch.equal(module(x), x)
    module.reset_parameters()
    assert (module.bn.running_mean == 0).all() and (module.bn.running_var == 1).all()
    # a host model that resets whatever can be reset leaves the identity alone
    module.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
    assert torch.equal(module(x), x)


def test_meta_device():
    module = NonLocalBlock(4, device="meta").to_empty(device="cpu")
    module.reset_parameters()
    x = random_x()
    assert torch.equal(module(x), x)


def test_fields_and_from_spec():
    module = NonLocalBlock(8, 2, 2, pairwise="dot_product", subsample=(2, 2), bias=True)
    expected = NonLocalSpec(8, 2, 2, "dot_product", subsample=(2, 2), bias=True)
    assert module.spec == expected == NonLocalBlock.from_spec(expected).spec
    other = NonLocalBlock.from_spec(expected, init="normal", identity=False, momentum=0.3)
    assert (other.init, other.identity, other.bn.momentum) == ("normal", False, 0.3)
    assert "pairwise='dot_product', normalization='count', subsample=(2, 2)" in repr(module)
    assert "(theta): Linear(in_features=8, out_features=2, bias=True)" in repr(module)
    wide = NonLocalSpec(8, 2, 2, value_channels=6, bias="embeddings")
    module = NonLocalBlock.from_spec(wide)
    assert module.spec == wide and "value_channels=6" in repr(module)
    assert "(g): Linear(in_features=8, out_features=6, bias=True)" in repr(module)
    assert "(out): Linear(in_features=6, out_features=8, bias=False)" in repr(module)
    with pytest.raises(TypeError, match="unexpected keyword argument 'dimension'"):
        NonLocalBlock(8, dimension=2)
    with pytest.raises(ValueError, match="pairwise must be one of"):
        NonLocalBlock(8, pairwise="softmax")


@pytest.mark.parametrize("more", [{"bias": True}, {"bias": "embeddings", "value_channels": 3}])
@each_function
def test_module_matches_reference_and_functional_form(pairwise, normalization, more, problem):
    functions = {"pairwise": pairwise, "normalization": normalization}
    spec = NonLocalSpec(4, subsample=(1, 2, 2), **functions, **more)
    weights, x, _ = problem(spec, (2, 4, 4))
    module = NonLocalBlock.from_spec(spec, dtype=torch.float64).eval()
    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    x = torch.from_numpy(x)
    called = torch.func.functional_call(module, state, x)
    module.load_state_dict(state)
    expected = block(spec, weights, x.numpy())
    z = module(x).detach().numpy()
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    again = [called, non_local_block(spec, state, x), copy.deepcopy(module)(x)]
    for other in (*again, pickle.loads(pickle.dumps(module))(x)):
        # not bit for bit: a product may round otherwise where the weights lie otherwise in memory
        np.testing.assert_allclose(other.detach().numpy(), z, rtol=0, atol=1e-13)


def test_running_statistics_follow_the_batch(problem):
    spec = NonLocalSpec(4, ndim=2, batch_norm=True)
    weights, x, _ = problem(spec, (3, 5))
    module = NonLocalBlock.from_spec(spec, momentum=0.2, dtype=torch.float64)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    plain = NonLocalSpec(4, ndim=2, batch_norm=False)
    needed = {name: weights[name] for name in weight_shapes(plain)}
    response = block(plain, needed, x) - x  # (B, C, H, W)
    module(torch.from_numpy(x))
    mean = 0.8 * weights["bn.running_mean"] + 0.2 * response.mean((0, 2, 3))
    variance = 0.8 * weights["bn.running_var"] + 0.2 * response.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(module.bn.running_mean.numpy(), mean, rtol=0, atol=1e-14)
    np.testing.assert_allclose(module.bn.running_var.numpy(), variance, rtol=0, atol=1e-14)


def test_frozen_batch_norm_uses_and_keeps_its_statistics():
    module = NonLocalBlock(4, identity=False)
    x = random_x()
    expected = module.eval()(x)
    module.train().bn.eval()
    assert torch.equal(module(x), expected)
    assert (module.bn.running_mean == 0).all()


def test_one_value_per_channel_in_training():
    module = NonLocalBlock(4, ndim=2, pairwise="dot_product", identity=False)
    torch.nn.init.constant_(module.bn.bias, 0.5)
    x = random_x(positions=(1, 1))[:1]
    assert torch.equal(module(x), x + 0.5)
    assert (module.bn.running_mean == 0).all() and (module.bn.running_var == 1).all()


def test_torch_finds_the_batch_norm():
    module = NonLocalBlock(4, identity=False)
    assert isinstance(module.bn, torch.nn.modules.batchnorm._BatchNorm)
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(module))
    assert isinstance(converted.bn, torch.nn.SyncBatchNorm)
    x = random_x()
    torch.testing.assert_close(converted(x), module(x))
    module.load_state_dict(converted.state_dict())  # holds bn.num_batches_tracked
    converted.load_state_dict(dict(module.state_dict()))


def test_parametrized_weights_are_seen():
    module = NonLocalBlock(4, identity=False).eval()
    torch.nn.utils.parametrizations.weight_norm(module.out)
    x = random_x()
    before = module(x)
    torch.nn.init.constant_(module.out.parametrizations.weight.original0, 0.0)
    assert not torch.allclose(before, x)
    assert torch.equal(module(x), x)


@pytest.mark.parametrize("backward_inside", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each_function
def test_autocast(pairwise, normalization, dtype, backward_inside):
    torch.manual_seed(0)
    module = NonLocalBlock(
        4, ndim=2, pairwise=pairwise, normalization=normalization, subsample=(2, 2), identity=False
    ).eval()
    x = 0.5 * random_x(positions=(4, 6))
    with torch.autocast("cpu", dtype):
        z = module(x)
        if backward_inside:
            z.sum().backward()
    if not backward_inside:
        z.sum().backward()
    assert z.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())
    if (pairwise, normalization) != ("dot_product", "sum"):  # C(x) may come near 0
        torch.testing.assert_close(z, module(x), rtol=0, atol=32 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("subsample", [None, "embedding", "input"])
def test_autocast_keeps_the_shares_of_logits_in_float32(subsample):
    torch.manual_seed(0)
    pooled = {} if subsample is None else {"subsample": (2, 2), "subsample_at": subsample}
    block = NonLocalBlock(8, ndim=2, pairwise="concatenation", **pooled)
    x = random_x(channels=8, positions=(4, 6))
    a, b, _ = block.embeddings(x)
    with torch.autocast("cpu", torch.bfloat16):
        cast_a, cast_b, g = block.embeddings(x)
    assert (cast_a.dtype, cast_b.dtype, g.dtype) == (torch.float32, torch.float32, torch.bfloat16)
    torch.testing.assert_close(cast_a, a, rtol=1e-5, atol=1e-5)
    if subsample != "embedding":  # then b is of a phi in bfloat16
        torch.testing.assert_close(cast_b, b, rtol=1e-5, atol=1e-5)


def test_batch_normalization_may_be_hooked_and_replaced():
    block, x = NonLocalBlock(4, ndim=2, identity=False), random_x(positions=(4, 5))
    seen = []
    block.bn.register_forward_hook(lambda module, inputs, output: seen.append(output))
    block.bn.register_full_backward_hook(lambda module, dx, dz: None)
    z = block(x)
    z.sum().backward()
    torch.testing.assert_close(z, x + seen[0])
    block.bn = torch.nn.Sequential(block.bn, torch.nn.Sigmoid())  # which keeps its output
    block(x).sum().backward()


def test_memory_format_is_kept():
    for memory_format, positions in (
        (torch.channels_last, (4, 5)),
        (torch.channels_last_3d, (2, 4, 5)),
    ):
        module = NonLocalBlock(4, ndim=len(positions), identity=False).eval()
        x = random_x(positions=positions)
        z = module(x.contiguous(memory_format=memory_format))
        assert z.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(z, module(x))


def test_bad_input():
    module = NonLocalBlock(4, ndim=2)
    x = random_x(positions=(3, 3))
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor; received list"):
        module(x.tolist())
    with pytest.raises(TypeError, match=r"x must be floating point.*received dtype int64"):
        module(x.long())
    with pytest.raises(TypeError, match=r"received x torch.float64 and weight torch.float32"):
        module(x.double())
    with pytest.raises(ValueError, match=r"\(B, 4, H, W\); received shape \(2, 4, 3\)"):
        module(x[..., 0])


@pytest.mark.parametrize("subsample_at", ["embedding", "input"])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_a_channels_last_batch_of_one_keeps_the_strides_of_its_format(pairwise, subsample_at):
    """With other strides torch is slow, and its gradients of batch normalization are wrong."""
    found = NonLocalBlock(
        4, pairwise=pairwise, subsample=(1, 2, 2), subsample_at=subsample_at, identity=False
    ).double()
    plain = random_x(dtype=torch.float64)[:1].requires_grad_()
    last = plain.detach().contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    strides = []
    found.bn.register_forward_pre_hook(lambda module, inputs: strides.append(inputs[0].stride()))
    gradients = []
    for x in (plain, last):
        z = found(x)
        d = torch.linspace(-1, 1, z.numel(), dtype=z.dtype).view(z.shape)  # channels-first
        gradients.append(torch.autograd.grad(z, [x, *found.parameters()], d))
    for ours, right in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-12, atol=1e-13)
    assert strides == [plain.stride(), last.stride()]
