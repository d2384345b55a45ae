"""A block under the wrappers of torch.distributed, beside a block of convolutions."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
import torch.distributed as dist
from blocks import EACH, block, control, parts_of, random_x
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's own


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A group of this process alone, which runs the same code as one of many."""
    if sys.platform == "linux":
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def sharded_and_plain(make):
    """Two equal models without b_f, because FSDP takes no scalar parameter."""
    model = make()
    if hasattr(model, "f"):
        model = block("concatenation", pair_bias=False)
    return copy.deepcopy(model.double()), model


def trained(model, x):
    """The output of a step, and the one after it."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    found = []
    for _ in range(2):
        optimizer.zero_grad()
        z = model(x)
        z.square().mean().backward()
        optimizer.step()
        found.append(z.detach())
    return found


def assert_trains_alike(wrapped, plain):
    x = random_x(torch.float64)  # so that differences in rounding are far below those of a fault
    for found, right in zip(trained(wrapped, x), trained(plain, x), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


def test_fsdp_refuses_a_scalar_parameter(group):
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
    with pytest.raises(ValueError, match="scalar parameters"):
        fsdp.fully_shard(block("concatenation"), mesh=mesh)


@EACH
def test_data_parallel(make, group):
    model = make().double()
    wrapped = nn.parallel.DistributedDataParallel(copy.deepcopy(model))
    assert_trains_alike(wrapped, model)


@EACH
@pytest.mark.parametrize("each_part", [False, True])
def test_fully_shard(make, each_part, group):
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
    sharded, model = sharded_and_plain(make)
    for part in parts_of(sharded).values() if each_part else ():
        fsdp.fully_shard(part, mesh=mesh)
    fsdp.fully_shard(sharded, mesh=mesh)
    assert_trains_alike(sharded, model)
    if make is not control and each_part:
        sharded.unshard()
        exported, right = sharded.export_weights(), model.export_weights()
        assert all(abs(exported[name] - right[name]).max() < 1e-12 for name in right)


@EACH
@pytest.mark.parametrize("each_part", [False, True])
def test_fully_sharded_data_parallel(make, each_part, group):
    from torch.distributed.fsdp import FullyShardedDataParallel

    sharded, model = sharded_and_plain(make)
    options = {"use_orig_params": True, "device_id": torch.device("cpu")}
    try:
        for name, part in parts_of(sharded).items() if each_part else ():
            setattr(sharded, name, FullyShardedDataParallel(part, **options))
        sharded = FullyShardedDataParallel(sharded, **options)
    except RuntimeError as error:
        if make is control or "accelerator" in str(error):
            pytest.skip(f"this torch has it on accelerators only: {error}")
        raise
    assert_trains_alike(sharded, model)


@EACH
def test_moving_average(make):
    model = make()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)
    )
    average.update_parameters(model)
    assert torch.equal(average(random_x()), model(random_x()))
    with torch.no_grad():
        model.g.weight.mul_(3)
    average.update_parameters(model)
    torch.testing.assert_close(average.module.g.weight, model.g.weight * 2 / 3)


@EACH
def test_an_empty_batch_of_sharded_parts(make, group):
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
    model, _ = sharded_and_plain(make)
    model.eval()
    for part in parts_of(model).values():
        fsdp.fully_shard(part, mesh=mesh)
    x = random_x(torch.float64)
    assert fsdp.fully_shard(model, mesh=mesh)(x[:0]).shape == (0, *x.shape[1:])
