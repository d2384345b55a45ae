"""Placement reports of PyTorch models, against the networks as data and against PyTorch's count."""

import copy
from itertools import product

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

import nlcore_torch.operation.gaussian
from nlcore import video as data
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore.video import NetworkSpec, placement
from nlcore.video.placed_blocks import placed
from nlcore_torch import NonLocalBlock
from nlcore_torch.insertion import insert, non_local_blocks, remove
from nlcore_torch.placement import execution, placement_report
from nlcore_torch.video.network import Network

C2_BLOCK = {"subsample": (1, 2, 2), "subsample_at": "input", "bias": True}


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec(101, stem_padding=0, stride_at="1x1"),  # Table 2e's
        NetworkSpec(50, "none", placement(50, 5), C2_BLOCK),
        NetworkSpec(50, "none", placement(50, 10), {"pairwise": "concatenation"}),
        NetworkSpec(101, "3x3x3", placement(101, 5), {"window": 2}),
        NetworkSpec(50, "3x1x1", placement(50, 1), {"extent": "space", "pairwise": "gaussian"}),
        NetworkSpec(50, "none", ("res2.1", "res5.1"), {"pairwise": "dot_product"}),
    ],
)
def test_the_networks(spec):
    network = Network(spec, device="meta")
    clip = torch.empty(1, 3, 32, 224, 224, device="meta")
    assert placement_report(network, clip) == data.placement_report(spec, executes=execution)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_computed_networks(dtype):
    spec = NetworkSpec(width=2, classes=5).with_blocks(5)
    network, clip = Network(spec, dtype=dtype), torch.zeros(1, 3, 8, 64, 64, dtype=dtype)
    expected = data.placement_report(spec, (8, 64, 64), dtype.itemsize, execution)
    assert placement_report(network, clip) == expected


def host():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.Flatten(), nn.Linear(384, 4)
    )


WHERE = {"1": {"channels": 8, "ndim": 2}, "2": {"pairwise": "dot_product", "subsample": (2, 2)}}


def test_any_model():
    model = insert(host(), WHERE)
    report = placement_report(model, torch.zeros(2, 3, 12, 12))
    assert [(b.name, b.shape) for b in report.blocks] == [
        ("1.non_local", (2, 8, 10, 10)),
        ("2.non_local", (2, 6, 8, 8)),
    ]
    for block in report.blocks:
        spec = non_local_blocks(model)[block.name].spec
        assert block == placed(block.name, spec, block.shape, 4, execution)
        own = sum(p.numel() for p in non_local_blocks(model)[block.name].parameters())
        assert block.parameters == own
    rest = 2 * (100 * 8 * 27 + 64 * 6 * 4 * 9 + 384 * 4)
    assert report.multiply_adds == rest + sum(b.multiply_adds for b in report.blocks)
    assert report.parameters == sum(p.numel() for p in model.parameters())
    without = placement_report(remove(model), torch.zeros(2, 3, 12, 12))
    assert (without.blocks, without.multiply_adds) == ((), rest)


class Twice(nn.Module):
    """Calls one block twice and another not at all."""

    def __init__(self):
        super().__init__()
        self.block, self.idle = NonLocalBlock(4, ndim=1), NonLocalBlock(4, ndim=1)

    def forward(self, x, *, half=True):
        return self.block(self.block(x)[..., ::2])


def test_a_block_that_is_called_again_and_one_that_is_not():
    model = Twice()
    report = placement_report(model, torch.zeros(1, 4, 10))
    assert [(b.name, b.shape) for b in report.blocks] == [
        ("block", (1, 4, 10)),
        ("block", (1, 4, 5)),
        ("idle", ()),
    ]
    own = sum(p.numel() for p in model.idle.parameters())
    assert [b.parameters for b in report.blocks] == [own, 0, own]
    assert report.parameters == 2 * own
    assert report.blocks[2].multiply_adds == report.blocks[2].kept == 0
    assert report.multiply_adds == sum(b.multiply_adds for b in report.blocks)
    assert "not called" in str(report)


def test_the_model_stays_as_it_was():
    torch.manual_seed(0)
    model, x = insert(host(), WHERE, identity=False), torch.randn(2, 3, 12, 12)
    model[2].eval()
    before = copy.deepcopy(model)
    for example in (x, torch.zeros(2, 3, 99, 99)):
        try:
            placement_report(model, example)
        except RuntimeError as error:
            assert example is not x, error
        assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
        assert model.state_dict().keys() == before.state_dict().keys()
        for name, value in before.state_dict().items():
            assert torch.equal(model.state_dict()[name], value), name
        assert torch.equal(copy.deepcopy(model)(x), copy.deepcopy(before)(x))


def test_a_forward_of_its_own_stays():
    model = nn.Sequential(NonLocalBlock(4, ndim=1))

    def doubled(x):
        return 2 * x

    model[0].forward = doubled
    assert len(placement_report(model, torch.zeros(1, 4, 5)).blocks) == 1
    assert model[0].forward is doubled


def test_errors():
    model = insert(host(), {"1": {"channels": 8, "ndim": 2, "subsample": (16, 16)}})
    with pytest.raises(ValueError, match=r"axis H must be at least its pooling window 16"):
        placement_report(model, torch.zeros(2, 3, 12, 12))


def block_of(**fields):
    return NonLocalBlock(6, 4, identity=False, **fields)


POOLING = [
    {},
    {"subsample": (1, 2, 2)},
    {"subsample": (1, 2, 2), "subsample_at": "input"},
    {"extent": "space", "subsample": (1, 2, 3)},
    {"extent": "time"},
    {"window": 2},
]


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_what_is_executed(pairwise, normalization, bias, pooling, monkeypatch):
    """PyTorch counts matrix products: not prefix sums, but weights times weights as well."""
    monkeypatch.setattr(nlcore_torch.operation.gaussian, "takes", lambda *_: False)
    block = block_of(pairwise=pairwise, normalization=normalization, bias=bias, **pooling)
    x = torch.randn(2, 6, 4, 5, 6)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block.eval()(x)
    found = placed("block", block.spec, tuple(x.shape), 4, execution)
    counted = counter.get_total_flops() // 2
    if pairwise == "concatenation":
        pooled = [k // w for k, w in zip((4, 5, 6), block.spec.pool, strict=True)]
        n, keys = 2 * 4 * 5 * 6, 2 * pooled[0] * pooled[1] * pooled[2]
        counted += (n + keys) * (4 + (normalization == "sum"))
        w_f = 1 if "subsample" in pooling and "subsample_at" not in pooling else 2
        counted -= w_f * 4 * 6  # times W_theta and, where phi itself is not needed, W_phi
    assert found.executed == counted


def kept(block, x):
    """Bytes that the block's forward direction keeps, but for x, weights and indices; and z's."""
    storages = {}

    def keep(tensor):
        if tensor.is_floating_point():
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = tensor, storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        z = block(x)
    others = {t.untyped_storage().data_ptr() for t in (x, *block.parameters(), *block.buffers())}
    return sum(size for place, (_, size) in storages.items() if place not in others) + z.nbytes


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("pairwise", "normalization", "pooling"),
    [
        *product(PAIRWISE[:2], NORMALIZATIONS, POOLING),
        *product(["dot_product"], ["count"], POOLING[:3]),  # in extents phi^T g grows with T
    ],
)
def test_what_is_kept(pairwise, normalization, pooling, batch_norm, monkeypatch):
    monkeypatch.setattr(nlcore_torch.operation.gaussian, "CHUNK", 1)
    fields = {"pairwise": pairwise, "normalization": normalization, "batch_norm": batch_norm}
    block = block_of(**fields, **pooling)
    found, expected = [], []
    for frames in (4, 8):
        # of one item, as the report
        x = torch.randn(1, 6, frames, 5, 6, requires_grad=True)
        found.append(kept(block, x))
        expected.append(placed("block", block.spec, tuple(x.shape), 4, execution).kept)
    added = 0
    if pairwise == "gaussian" and "subsample" not in pooling:
        added = 2 * 4 * (4 * 5 * 6)  # two float32 numbers for each of 4 more frames' positions
    # the difference, since what does not grow with N is left out
    assert found[1] - found[0] == expected[1] - expected[0] + added
