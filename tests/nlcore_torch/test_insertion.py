"""Blocks in a model that exists already."""

import copy
import re
from collections import OrderedDict

import pytest
import torch
from torch import nn

from nlcore_torch import NonLocalBlock
from nlcore_torch.insertion import assert_identity, block_activity, insert, non_local_blocks, remove


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96, 4),
    )


@pytest.fixture
def x():
    return torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


WHERE = {"2": {"pairwise": "dot_product", "subsample": (2, 2)}, "3": {"batch_norm": False}}


@pytest.mark.parametrize("training", [False, True])
def test_bit_identical_at_insertion(x, training):
    plain = small().train(training)
    model = insert(copy.deepcopy(plain), WHERE, example=x)
    assert_identity(model)
    assert torch.equal(model(x), plain(x))
    assert {name: b.spec.channels for name, b in non_local_blocks(model).items()} == {
        "2.non_local": 8,
        "3.non_local": 6,
    }
    assert all(
        b.training == training and b.spec.ndim == 2 for b in non_local_blocks(model).values()
    )


def test_names_stay(x):
    model = insert(small(), {"3": {}})
    before = small().state_dict()
    assert model.load_state_dict(before, strict=False).missing_keys == [
        f"3.non_local.{name}" for name in non_local_blocks(model)["3.non_local"].state_dict()
    ]


@pytest.mark.parametrize("after", ["0", "3"])  # a hook's, and a sequential's
def test_the_block_computes(x, after):
    model = insert(small(), {after: {"pairwise": "dot_product"}}, identity=False).eval()
    block = non_local_blocks(model)[f"{after}.non_local"]
    found = model(x)
    assert not torch.equal(found, small().eval()(x))
    plain = remove(model)
    assert torch.equal(found, plain[int(after) + 1 :](block(plain[: int(after) + 1](x))))


def test_activity(x):
    model = insert(small(), WHERE, example=x)
    assert {(a.gradient, a.left_zero) for a in block_activity(model).values()} == {(False, False)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).square().sum().backward()
    assert {(a.gradient, a.left_zero) for a in block_activity(model).values()} == {(True, False)}
    optimizer.step()
    assert {(a.gradient, a.left_zero) for a in block_activity(model).values()} == {(True, True)}
    with pytest.raises(AssertionError, match=r"the block '2.non_local' is not the identity.*bn"):
        assert_identity(model)


def test_a_hosts_init_is_caught(x):
    model = insert(small(), {"3": {}})
    for module in model.modules():
        if hasattr(module, "running_mean"):
            nn.init.ones_(module.weight)
    with pytest.raises(
        AssertionError, match=r"'3.non_local'.*expected bn.weight to be 0; received .* 1"
    ):
        assert_identity(model)


def test_remove(x):
    plain = small().eval()
    model = remove(insert(copy.deepcopy(plain), WHERE, example=x))
    assert non_local_blocks(model) == {}
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(model(x), plain(x))
    insert(model, WHERE, example=x)  # again


def test_a_hosts_own_block_of_the_name_is_not_removed(x):
    own = NonLocalBlock(8, ndim=2, identity=False)
    model = nn.Sequential(OrderedDict(first=nn.Conv2d(3, 8, 3), non_local=own))
    with pytest.raises(ValueError, match="'' must have no attribute 'non_local'"):
        insert(model, {"": {}})
    assert list(non_local_blocks(remove(insert(model, {"first": {}})))) == ["non_local"]


def test_copies_and_pickles_keep_their_blocks(x, tmp_path):
    model = insert(small(), WHERE, example=x, identity=False).eval()
    torch.save(model, tmp_path / "model.pt")
    for other in (copy.deepcopy(model), torch.load(tmp_path / "model.pt", weights_only=False)):
        assert torch.equal(other(x), model(x))
        assert set(non_local_blocks(other)) == {"2.non_local", "3.non_local"}
        assert non_local_blocks(other)["2.non_local"] is not non_local_blocks(model)["2.non_local"]


def test_dtype_is_the_hosts(x):
    model = insert(small().double(), WHERE, example=x.double())
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_parameters_reset_to_the_identity(x):
    model = insert(small(), WHERE, example=x, identity=True)
    model(x).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
    assert_identity(model)


class OwnConv(nn.Conv2d):
    """As hosts have them, to pad or standardize."""


@pytest.mark.parametrize(
    ("convolution", "ndim"), [(nn.Conv1d, 1), (nn.Conv2d, 2), (nn.Conv3d, 3), (OwnConv, 2)]
)
def test_a_convolution_tells_channels_and_axes(convolution, ndim):
    model = insert(
        nn.Sequential(nn.Sequential(convolution(3, 5, 1), convolution(5, 8, 1))), {"0": {}}
    )
    (block,) = non_local_blocks(model).values()
    assert (block.spec.channels, block.spec.ndim) == (8, ndim)


@pytest.mark.parametrize("after", ["2", "3"])  # a hook's, and a sequential's
@pytest.mark.parametrize("training", [False, True])
def test_an_empty_batch(x, after, training):
    model = insert(small()[:4], {after: {}}, example=x, identity=False).train(training)
    model[1].eval()  # torch's own refuses to train on nothing
    x = x[:0].requires_grad_()
    z = model(x)
    assert z.shape == (0, 6, 10, 10)
    z.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("after", ["2", "3"])
def test_compiled_whole(x, after):
    model = insert(small(), {after: {}}, example=x, identity=False).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


class Named(nn.Module):
    """Puts out a dict, as segmentation models do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return {"out": self.conv(x)}


def test_an_output_that_is_no_tensor(x):
    model = Named()
    with pytest.raises(TypeError, match=r"returns a tensor; received '', which returned a dict"):
        insert(model, {"": {}}, example=x)
    assert non_local_blocks(model) == {}
    with pytest.raises(
        TypeError, match=r"returns a tensor; received 'Named', which returned a dict"
    ):
        insert(model, {"": {}})(x)


@pytest.mark.parametrize("listed", [nn.ModuleList([nn.Conv2d(3, 8, 3)]), nn.ModuleDict()])
def test_a_list_of_modules_is_not_called(listed):
    model = nn.Module()
    model.parts = listed
    with pytest.raises(
        ValueError, match=rf"that is called; received 'parts', a {type(listed).__name__}"
    ):
        insert(model, {"parts": {"channels": 8, "ndim": 2}})
    assert non_local_blocks(model) == {}


@pytest.mark.parametrize("shape", [(2, 9, 8), (2, 3, 5, 8)])
@pytest.mark.parametrize("before", [False, True])
def test_channels_last(shape, before):
    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 6)))
    seen = (*shape[:-1], 8 if before else 6)
    wanted = re.escape(f"the last axis of {seen} at '1' seems to be the channels. Transpose it")
    with pytest.raises(ValueError, match=wanted):
        insert(model, {"1": {}}, example=torch.zeros(shape), before=before)
    assert not non_local_blocks(model)


def test_linear_layers_over_positions():
    """Where axis 1 has the channels, and the user says so, or pooling comes first."""
    over_time = nn.Sequential(nn.Linear(9, 9))
    insert(over_time, {"0": {"channels": 4, "ndim": 1}}, example=torch.zeros(2, 4, 9))
    assert over_time(torch.zeros(2, 4, 9)).shape == (2, 4, 9)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7))
    model = insert(nn.Sequential(head), {"0": {}}, example=torch.zeros(2, 8, 7, 7), before=True)
    assert model[0].non_local.spec.channels == 8


def test_two_names_of_one_module():
    shared = nn.Conv2d(3, 3, 1)
    model = nn.Sequential(shared, shared)
    with pytest.raises(ValueError, match=r"must have one block; received .*: \['0', '1'\]"):
        insert(model, {"0": {}, "1": {}})
    assert non_local_blocks(model) == {}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"7": {}}, r"a block must follow a module of the model, .*; received '7'"),
        ({"2": {}}, r"must be given for '2', because it contains no convolution"),
        ({"0": {"channels": 8}, "3": {"pairwise": "cosine"}}, "pairwise must be one of"),
    ],
)
def test_errors_leave_the_model_alone(where, message):
    model = small()
    with pytest.raises(ValueError, match=message):
        insert(model, where)
    assert non_local_blocks(model) == {}


def test_twice_is_an_error():
    model = insert(small(), {"3": {}})
    with pytest.raises(ValueError, match="'3' must have no attribute 'non_local'"):
        insert(model, {"3": {}})


@pytest.mark.parametrize("where", ["3", "3.0", "4"])  # a sequential, a convolution, another
@pytest.mark.parametrize("with_example", [False, True])
def test_before_a_module(x, where, with_example):
    if where == "4" and not with_example:
        with pytest.raises(ValueError, match="it contains no convolution"):
            insert(small(), {where: {}}, before=True)
        return
    plain = small().eval()
    model = insert(
        copy.deepcopy(plain),
        {where: {"pairwise": "dot_product"}},
        example=x if with_example else None,
        identity=False,
        before=True,
    )
    block = non_local_blocks(model)[f"{where}.non_local"]
    number = int(where[0])
    assert torch.equal(model(x), plain[number:](block(plain[:number](x))))
    assert set(plain.state_dict()) <= set(model.state_dict())
    assert torch.equal(remove(model)(x), plain(x))
    same = insert(copy.deepcopy(plain), {where: {}}, example=x, before=True)
    assert torch.equal(same(x), plain(x))


class Levels(nn.Module):
    """Calls one module at two sizes, and another with two numbers of channels."""

    def __init__(self):
        super().__init__()
        self.head, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, x):
        small_x = x[:, :, ::4, ::4]
        return self.relu(self.head(x)).sum() + self.relu(self.head(small_x)[:, :2]).sum()


def test_a_module_that_is_called_several_times(x):
    model = Levels()
    insert(model, {"head": {"subsample": (3, 3)}}, example=x)
    model(x)
    remove(model)
    with pytest.raises(ValueError, match="one number of channels in every call; received 'relu'"):
        insert(model, {"relu": {}}, example=x)
    with pytest.raises(ValueError, match="axis H must be at least its pooling window 4"):
        insert(model, {"head": {"subsample": (4, 4)}}, example=x)
    assert not non_local_blocks(model)


def test_a_check_that_finds_no_block_does_not_pass():
    with pytest.raises(
        ValueError, match="model must contain a non-local block; received Sequential"
    ):
        assert_identity(small())


class Uncalled(nn.Module):
    """Calls a module in a way that its hooks do not see."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv.forward(x)


def test_a_module_that_the_example_does_not_call(x):
    with pytest.raises(ValueError, match="must call 'conv' for the example"):
        insert(Uncalled(), {"conv": {}}, example=x)
