"""Tools that users run on models: each does to a block what it does to a block of convolutions."""

from __future__ import annotations

import copy
import io
import warnings

import pytest
import torch
from blocks import EACH, Convolutions, assert_same, block, control, parts_of, random_x
from torch import fx, nn

from nlcore.spec import PAIRWISE
from nlcore.video import NetworkSpec
from nlcore_torch import NonLocalBlock, insert
from nlcore_torch.insertion import non_local_blocks
from nlcore_torch.video.network import Network

NDIM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def network():
    torch.manual_seed(0)
    spec = NetworkSpec(non_local=("res4.4",), width=4, classes=3)
    return Network(spec, identity=False)


# Tools that select by class


@pytest.mark.parametrize("ndim", NDIM)
def test_batch_normalization_is_of_torchs_class(ndim):
    assert isinstance(NonLocalBlock(4, ndim=ndim).bn, NDIM[ndim])


def test_every_batch_normalization_of_a_network_is_of_torchs_class():
    modules = dict(network().named_modules())
    norms = {name for name, m in modules.items() if "Norm" in type(m).__name__}
    assert norms == {name for name, m in modules.items() if isinstance(m, nn.BatchNorm3d)}
    assert len(norms) == 54


# State dicts


def converted(model):
    return nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))


@pytest.mark.parametrize("make", [control, block, network])
@pytest.mark.parametrize("metadata", [True, False])
def test_state_dicts_of_synchronized_and_plain_models(make, metadata):
    plain = make()
    for source, target in ((plain, converted(plain)), (converted(plain), make())):
        with torch.no_grad():
            for parameter in target.parameters():
                parameter.fill_(7)
        state = source.state_dict()
        if not metadata:  # as from a .safetensors file
            if make is control:
                continue  # torch's own count is then missing
            state = dict(state)
        target.load_state_dict(state)
        for name, value in plain.named_parameters():
            assert torch.equal(target.get_parameter(name), value)


@pytest.mark.parametrize("make", [block, network])
def test_a_synchronized_model_exports_its_weights(make):
    model = make()
    right = model.export_weights()
    found = converted(model).export_weights()
    assert list(found) == list(right)
    make().import_weights(found)


def test_a_synchronized_block_resets_to_the_identity():
    module = converted(NonLocalBlock(4))
    module.bn.weight.data.fill_(3)
    module.reset_parameters()
    assert not module.bn.weight.any()


# Tracing


def in_a_model(module):
    return nn.Sequential(nn.Conv3d(6, 6, 1), module, nn.ReLU())


class BlocksAreLeaves(fx.Tracer):
    def is_leaf_module(self, m, name):
        return isinstance(m, (NonLocalBlock, Convolutions)) or super().is_leaf_module(m, name)


@EACH
@pytest.mark.parametrize("tracer", [fx.Tracer, BlocksAreLeaves])
def test_fx(make, tracer):
    if make is control and tracer is fx.Tracer:
        pytest.skip("its unflatten takes a Proxy's shape")
    model = in_a_model(make()).eval()
    graph = tracer().trace(model)
    traced = fx.GraphModule(model, graph)
    assert torch.equal(traced(random_x()), model(random_x()))
    again = fx.GraphModule(traced, tracer().trace(traced))
    assert torch.equal(again(random_x()), model(random_x()))


@pytest.mark.parametrize("sequential", [True, False])
def test_fx_of_an_inserted_block(sequential):
    model = nn.Sequential(nn.Sequential(nn.Conv3d(6, 6, 1), nn.ReLU()), nn.ReLU()).eval()
    insert(model, {"0" if sequential else "0.0": {}}, identity=False)
    assert torch.equal(fx.symbolic_trace(model)(random_x()), model(random_x()))


@EACH
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_jit_trace(make):
    model = in_a_model(make()).eval()
    traced = torch.jit.trace(model, random_x())
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    loaded = torch.jit.load(file)
    for x in (random_x(), torch.randn(3, 6, 4, 5, 6)):  # and sizes that it was not traced with
        torch.testing.assert_close(loaded(x), model(x))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize(
    "fields",
    [
        {"normalization": "sum"},
        {"normalization": "count"},
        {"subsample": (1, 2, 2)},
        {"subsample": (1, 2, 2), "subsample_at": "input"},
        {"extent": "time"},
        {"extent": "space"},
        {"window": 2},
    ],
    ids=str,
)
def test_a_traced_block_serves_other_sizes(pairwise, fields):
    model = block(pairwise, **fields).eval()
    # torch would compare the trace by a relative tolerance; here the bound judges it
    traced = torch.jit.trace(model, random_x(), check_trace=False)
    for x in (random_x(), torch.randn(3, 6, 4, 5, 7), torch.randn(1, 6, 6, 2, 2)):
        assert_same(model, model.state_dict(), x, traced(x))


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("normalization", ["sum", "count"])
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own
def test_compiled_at_several_shapes(pairwise, normalization, dynamic):
    torch._dynamo.reset()
    model = block(pairwise, normalization=normalization).eval()
    compiled = torch.compile(model, dynamic=dynamic, backend="aot_eager")
    for positions in ((2, 3, 4), (2, 6, 5), (4, 4, 4), (1, 1, 2)):
        x = torch.randn(2, 6, *positions)
        torch.testing.assert_close(compiled(x), model(x))


# Counters


@EACH
def test_fvcore_counts_the_products(make):
    fvcore = pytest.importorskip("fvcore.nn")
    model = make().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts = fvcore.FlopCountAnalysis(model, random_x())
        counts.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_module = counts.by_module()
    positions, sizes = 2 * 24, 6 * 4
    for name in parts_of(model):
        if name != "f":
            assert by_module[name] == positions * sizes, name
    assert counts.uncalled_modules() == set()


@EACH
def test_thop_counts_every_part(make):
    thop = pytest.importorskip("thop")
    model = make().eval()
    counted, _ = thop.profile(model, (random_x(),), verbose=False)
    linear = [p for n, p in parts_of(model).items() if n != "f"]
    assert counted >= len(linear) * 2 * 24 * 6 * 4


# Empty batches


@EACH
@pytest.mark.parametrize("training", [False, True])
def test_an_empty_batch(make, training):
    model = make().train(training)
    if make is control:
        model.bn = nn.Identity()  # torch's own refuses it in training
    z = model(torch.empty(0, 6, 2, 3, 4))
    assert z.shape == (0, 6, 2, 3, 4)
    z.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_an_empty_batch_of_a_wrong_size_is_an_error():
    with pytest.raises(ValueError, match="6 channels"):
        block()(torch.empty(0, 5, 2, 3, 4))


def test_blocks_are_found_in_wrapped_models():
    assert list(non_local_blocks(in_a_model(block()))) == ["1"]
