"""The block on several processes is the block of one, within the bounds, and so are gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from itertools import product

import numpy as np
import pytest
import torch
import torch.distributed as dist

from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import PAIRWISE
from nlcore.weights import RUNNING
from nlcore_conformance.bounds.arithmetic import arithmetic
from nlcore_conformance.checks.comparison import expected_of, judged
from nlcore_conformance.problems.case import Case, arrays
from nlcore_torch import sharded
from nlcore_torch.arrays import array, tensor
from nlcore_torch.operation import gaussian

POOLED = {"subsample": (2, 1, 1), "subsample_at": "embedding"}
RULES = [
    *({"pairwise": f, "normalization": c} for f, c in product(PAIRWISE, ("sum", "count"))),
    *({"pairwise": f, **POOLED, "bias": True} for f in PAIRWISE),
    *({"pairwise": f, "extent": "time"} for f in PAIRWISE),
    *({"pairwise": f, "extent": "space"} for f in PAIRWISE),
    *({"pairwise": f, "value_channels": 7, "bias": "embeddings"} for f in PAIRWISE),
    {"window": 2, "scale": 0.5},
    {"pairwise": "concatenation", "pair_bias": True, "batch_norm": False, "bias": True},
    {"ndim": 1, "scale": -0.5},
    {"ndim": 2, "pairwise": "dot_product", "normalization": "sum"},
]
#: Frames of each process: whole windows of 2.
FRAMES = {2: (4, 2), 3: (2, 6, 4)}


def cases(world: int) -> list[Case]:
    frames = sum(FRAMES[world])
    made = []
    for number, rules in enumerate(RULES):
        spec = NonLocalSpec(6, 4, **rules)
        positions = (frames, 3, 2)[: spec.ndim]
        for training in (False, True)[: 1 + spec.batch_norm]:
            dtype = ("float32", "float64", "float32", "bfloat16")[number % 4]
            made.append(Case(spec, 2, positions, dtype, seed=number, training=training))
    return [*made, replace(made[2], data="large")]


def work(world: int, rank: int, folder: str) -> None:
    """One process: its frames of each case's z and dx, and its share of the weights' gradients."""
    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a name for this machine is not needed
    gaussian.CHUNK = sharded.CHUNK = 96  # several chunks of queries
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, timedelta(minutes=2), rank=rank, world_size=world)
    first = sum(FRAMES[world][:rank])
    own = slice(first, first + FRAMES[world][rank])
    for number, case in enumerate(cases(world)):
        weights, x, dz = arrays(case)
        parameters = {name: tensor(w) for name, w in weights.items()}
        asked = [w.requires_grad_() for name, w in parameters.items() if name not in RUNNING]
        frames = tensor(x)[:, :, own].requires_grad_()
        z = sharded.sharded_block(case.spec, parameters, frames, case.training)
        dx, *shares = torch.autograd.grad(z, [frames, *asked], tensor(dz)[:, :, own])
        names = [name for name in parameters if name not in RUNNING]
        found = {"z": z, "dx": dx, **dict(zip(names, shares, strict=True))}
        np.savez(
            f"{folder}/{number}.{rank}.npz",
            **{name: array(value).astype(np.float64) for name, value in found.items()},
        )
    spec = NonLocalSpec(2, batch_norm=False, window=2)
    weights = {name: torch.zeros(shape) for name, shape in weight_shapes(spec).items()}
    with pytest.raises(ValueError, match="3 positions on device 1"):  # on every device
        sharded.sharded_block(spec, weights, torch.ones(1, 2, 2 + rank % 2, 1, 1))
    dist.destroy_process_group()


@pytest.mark.parametrize("world", sorted(FRAMES))
def test_several_processes_compute_the_block_of_one(world, tmp_path):
    command = [sys.executable, __file__, str(world)]
    processes = [subprocess.Popen([*command, str(rank), tmp_path]) for rank in range(world)]
    assert [process.wait() for process in processes] == [0] * world
    for number, case in enumerate(cases(world)):
        parts = [np.load(tmp_path / f"{number}.{rank}.npz") for rank in range(world)]
        right = expected_of(case, "float64" if case.dtype == "float64" else "float32", True)
        for name in right.values:
            each, bound = [part[name] for part in parts], right.bounds[name]
            if name in ("z", "dx"):
                whole = np.concatenate(each, 2)
            else:  # the shares, each stored in the dtype, are added in float64 here
                whole = sum(each)
                unit = arithmetic(case.dtype).unit
                bound = bound + unit / (1 - unit) * sum(map(np.abs, each))
            judgement = judged(name, whole, right.values[name], bound, "float64")
            assert judgement.ratio <= 1, (name, case, judgement)


def test_a_part_of_a_window_is_refused(tmp_path, monkeypatch):
    if sys.platform == "linux":
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        spec = NonLocalSpec(2, ndim=1, batch_norm=False, subsample=(2,))
        weights = {name: torch.zeros(shape) for name, shape in weight_shapes(spec).items()}
        assert sharded.sharded_block(spec, weights, torch.ones(1, 2, 3)).shape == (1, 2, 3)
        spec = NonLocalSpec(2, batch_norm=False, window=2)
        with pytest.raises(ValueError, match="window"):
            sharded.sharded_block(spec, weights, torch.ones(1, 2, 3, 1, 1))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    os._exit(0)  # torch 2.13 now and then aborts a process of several as Python ends
