"""What is done to the layers of a block has its effect, as in a block of convolutions."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from collections import Counter

import numpy as np
import pytest
import torch
from blocks import EACH, SIZES, assert_same, block, parts_of, random_x
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from nlcore import weight_shapes
from nlcore.spec import PAIRWISE
from nlcore_torch import NonLocalBlock, non_local_block
from nlcore_torch.parts import PairWeights


def as_tensors(weights):
    return {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}


# Hooks


@EACH
def test_forward_hooks_see_every_part_once(make):
    module, calls = make(), Counter()
    for name, part in parts_of(module).items():
        part.register_forward_hook(lambda m, a, out, name=name: calls.update([name]))
    module(random_x())
    assert calls == dict.fromkeys(parts_of(module), 1)


@EACH
@pytest.mark.parametrize("number", range(5))
def test_a_hook_on_one_part_is_enough(make, number):
    module, seen = make(), []
    parts = list(parts_of(module).values())
    part = parts[min(number, len(parts) - 1)]
    part.register_forward_pre_hook(lambda m, arguments: seen.append(m))
    module(random_x())
    assert seen == [part]


@EACH
def test_backward_hooks_see_gradients(make):
    module, seen = make(), set()
    for name, part in parts_of(module).items():
        part.register_full_backward_hook(lambda m, di, do, name=name: seen.add(name))
    module(random_x().requires_grad_()).square().sum().backward()
    assert seen == set(parts_of(module))


@EACH
def test_a_hook_on_every_module(make):
    module, seen = make(), []
    handle = nn.modules.module.register_module_forward_hook(lambda m, a, out: seen.append(m))
    try:
        module(random_x())
    finally:
        handle.remove()
    assert all(part in seen for part in parts_of(module).values())


@EACH
def test_a_hook_changes_the_result(make):
    module = make().eval()
    before = module(random_x())
    module.g.register_forward_hook(lambda m, a, out: 2 * out)
    assert not torch.equal(module(random_x()), before)


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"subsample": (1, 2, 2)},
        {"subsample": (1, 2, 2), "subsample_at": "input"},
        {"extent": "time"},
        {"extent": "space"},
        {"window": 1},
        {"value_channels": 3, "bias": "embeddings"},
        {"value_channels": 7, "bias": "embeddings", "subsample": (1, 2, 2)},
    ],
    ids=str,
)
def test_a_hooked_block_computes_the_same(pairwise, training, fields):
    module, x = block(pairwise, **fields).train(training), random_x()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    for part in parts_of(module).values():
        part.register_forward_hook(lambda *_: None)
    assert_same(module, weights, x, module(x))


# Weights that are computed: norms, parametrizations, pruning


@EACH
def test_spectral_norm_trains_every_part(make):
    module = make()
    for part in parts_of(module).values():
        if part.weight.ndim > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                nn.utils.spectral_norm(part)
    module(random_x()).square().sum().backward()
    originals = [n for n, _ in module.named_parameters() if n.endswith("weight_orig")]
    assert len(originals) >= 2
    assert all(module.get_parameter(name).grad.abs().sum() > 0 for name in originals)


@EACH
@pytest.mark.parametrize("old", [True, False])
def test_weight_norm_trains_for_two_steps(make, old):
    module = make()
    for part in parts_of(module).values():
        if old:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                nn.utils.weight_norm(part)
        else:
            parametrizations.weight_norm(part)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    seen = []
    for _ in range(2):
        optimizer.zero_grad()
        z = module(random_x())
        z.square().sum().backward()
        optimizer.step()
        seen.append({name: p.detach().clone() for name, p in module.named_parameters()})
    first, second = seen
    assert all(not torch.equal(first[name], second[name]) for name in first)


def weight_normed(part):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(part)


def spectral_normed(part):
    if part.weight.ndim > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            nn.utils.spectral_norm(part)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


WAYS = {
    "weight_norm": weight_normed,
    "spectral_norm": spectral_normed,
    "weight_norm, parametrized": parametrizations.weight_norm,
    "orthogonal": lambda p: parametrizations.orthogonal(p) if p.weight.ndim > 1 else None,
    "doubled": lambda p: parametrize.register_parametrization(p, "weight", Doubled()),
    "pruned": lambda p: prune.l1_unstructured(p, "weight", 0.5),
    "hooked": lambda p: p.register_forward_hook(lambda *_: None) and None,
}


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("way", WAYS)
def test_export_gives_the_weights_of_the_computation(pairwise, way):
    module, x = block(pairwise).eval(), random_x()
    for part in parts_of(module).values():
        WAYS[way](part)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    module(x).square().mean().backward()
    optimizer.step()
    assert_same(module, as_tensors(module.export_weights()), x, module(x))


# Replaced parts


class LoRA(nn.Module):
    """A linear layer with an adapter of low rank, as adapter libraries replace layers."""

    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_an_adapter_computes_and_trains(pairwise):
    module, x = block(pairwise).eval(), random_x(torch.float64)
    for name, part in parts_of(module).items():
        if isinstance(part, nn.Linear):
            setattr(module, name, LoRA(part))
    before = block(pairwise).eval().double()(x)
    module.double()
    z = module(x)
    assert not torch.equal(z, before)
    z.square().sum().backward()
    adapters = [p for n, p in module.named_parameters() if ".up." in n or ".down." in n]
    assert len(adapters) >= 4 and all(p.grad.abs().sum() > 0 for p in adapters)
    exported = as_tensors(module.export_weights())
    again = non_local_block(module.spec, exported, x)
    torch.testing.assert_close(again, z, rtol=1e-12, atol=1e-12)  # W is known up to rounding
    with pytest.raises(RuntimeError, match=r"theta|g\."):
        module.import_weights(exported)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_dynamic_quantization(pairwise):
    module, x = block(pairwise).eval(), random_x()
    quantized = torch.ao.quantization.quantize_dynamic(copy.deepcopy(module))
    names = [n for n, m in quantized.named_modules() if "quantized" in type(m).__module__]
    linear = [n for n, m in module.named_modules() if type(m) is nn.Linear]
    assert set(linear) <= set(names)
    z, right = quantized(x), module(x)
    assert not torch.equal(z, right)
    assert (z - right).abs().max() < 0.2 * right.abs().max()  # eight bits
    exported, weight = quantized.export_weights(), module.g.weight.detach().numpy()
    # the weights are rounded to a step of max |W| / 127, and the basis vectors to one of 1 / 127
    assert np.abs(exported["g.weight"] - weight).max() <= 2 / 127 * np.abs(weight).max()


def test_f_of_another_class_is_not_exported():
    module = block("concatenation")
    module.f = nn.Identity()
    with pytest.raises(TypeError, match="f must be a PairWeights; received a Identity"):
        module.export_weights()


# Initial weights


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_parts_from_the_meta_device_reset_themselves(pairwise, batch_norm):
    module = NonLocalBlock(64, pairwise=pairwise, batch_norm=batch_norm, bias=True, device="meta")
    module.to_empty(device="cpu")
    for part in module.modules():  # what FSDP does to modules that have parameters of their own
        if any(True for _ in part.parameters(recurse=False)):
            part.reset_parameters()
    x = torch.randn(2, 64, *SIZES)
    assert torch.equal(module(x), x)
    assert abs(module.g.weight.std().item() - (2 / 64) ** 0.5) < 0.01
    assert not module.g.bias.any()


def test_a_copy_resets_its_own_weights():
    module = block()
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        before = module.theta.weight.clone()
        copied.theta.reset_parameters()
        assert torch.equal(module.theta.weight, before)
        assert not torch.equal(copied.theta.weight, before)


def test_parts_are_those_that_tools_look_for():
    module = block("concatenation")
    assert {type(part) for part in parts_of(module).values()} == {nn.Linear, PairWeights}
    assert repr(module.f) == "PairWeights(inner_channels=4, bias=True)"
    assert "(theta): Linear(in_features=6, out_features=4, bias=True)" in repr(module)


# What a review found


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_parts_are_read_at_once_whatever_their_widths_and_biases(pairwise, monkeypatch):
    module = block(pairwise, value_channels=3, bias="embeddings")
    monkeypatch.setattr("nlcore_torch.block.embeddings_by_parts", None)
    assert module.out.bias is None and module.g.bias is not None
    for part in parts_of(module).values():
        monkeypatch.setattr(type(part), "forward", None)
    module(random_x()).sum().backward()
    assert all(value.grad is not None for value in module.parameters())
    assert module.export_weights().keys() == weight_shapes(module.spec).keys()


@pytest.mark.parametrize("name", ["theta", "g", "out"])
def test_a_bias_that_the_spec_has_not_takes_part(name):
    module, x = block(bias=False).eval(), random_x()
    old = getattr(module, name)
    new = nn.Linear(old.in_features, old.out_features)
    new.weight.data.copy_(old.weight.data)
    new.bias.data.fill_(0)
    before = module(x)
    setattr(module, name, new)
    torch.testing.assert_close(module(x), before)
    new.bias.data.copy_(torch.randn(old.out_features))
    assert (module(x) - before).abs().max() > 1e-3
    with pytest.raises(ValueError, match=f"received \\['{name}.bias'\\]"):
        module.export_weights()


def test_exported_weights_are_copies():
    module = block()
    exported = module.export_weights()
    before = exported["theta.weight"].copy()
    module.theta.weight.data.add_(1)
    assert np.array_equal(exported["theta.weight"], before)


def test_a_part_that_is_not_linear_has_no_weights():
    module = block()
    module.g = nn.Sequential(module.g, nn.ReLU())
    assert module(random_x()).shape == random_x().shape
    with pytest.raises(TypeError, match="g must be linear"):
        module.export_weights()


class Tripled(nn.Module):
    """Has an attribute `module`, and is no mere wrapper."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return 3 * self.module(x)


def test_a_wrapper_that_computes_is_exported_as_it_computes():
    module = block().eval()
    module.g = Tripled(module.g)
    assert_same(module, as_tensors(module.export_weights()), random_x(), module(random_x()))


def test_a_replaced_forward_is_called():
    module, x = block().eval(), random_x()
    before = module(x)
    forward = module.g.forward
    module.g.forward = lambda rows: 2 * forward(rows)  # as accelerate does
    assert (module(x) - before).abs().max() > 1e-3
    assert_same(module, as_tensors(module.export_weights()), x, module(x))


@EACH
def test_backward_pre_hooks_see_gradients(make):
    module, seen = make(), set()
    for name, part in parts_of(module).items():
        part.register_full_backward_pre_hook(lambda m, d, name=name: seen.add(name))
    module(random_x().requires_grad_()).square().sum().backward()
    assert seen == set(parts_of(module))


def test_dropout_of_an_adapter_is_off_in_an_export():
    module = block().eval()
    module.g = nn.Sequential(nn.Dropout(0.5), module.g)
    right = module.export_weights()["g.weight"]
    module.train()
    assert np.array_equal(module.export_weights()["g.weight"], right)
    assert module.g[0].training


def test_users_hooks_beside_weight_norm_are_not_called_by_an_export():
    module = block().eval()
    WAYS["weight_norm"](module.g)
    module.g.register_forward_pre_hook(lambda m, arguments: arguments[0].shape and None)
    module.g.weight_g.data.mul_(2)
    assert_same(module, as_tensors(module.export_weights()), random_x(), module(random_x()))


def test_parts_with_other_parameters_are_not_reset():
    module = block()
    prune.l1_unstructured(module.g, "weight", 0.5)
    with pytest.raises(TypeError, match=r"g must have a weight and a bias .*weight_orig"):
        module.reset_parameters()


def test_a_deleted_block_is_freed_at_once():
    module = block()
    alive = weakref.ref(module.theta)
    gc.disable()
    try:
        del module
        assert alive() is None
    finally:
        gc.enable()


class OnlyLinear(torch.Tensor):
    """A weight in another form: nothing but a linear layer takes it."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.cat:
            raise NotImplementedError
        return super().__torch_function__(function, types, args, kwargs or {})


def test_a_weight_of_another_class_is_left_to_its_layer():
    module, x = block().eval(), random_x()
    before = module(x)
    weight = module.theta.weight.detach().as_subclass(OnlyLinear)
    module.theta.weight = nn.Parameter(weight, requires_grad=False)
    torch.testing.assert_close(module(x).as_subclass(torch.Tensor), before)
