"""Who computes a task in PyTorch: nlcore, what a user would pick instead, and the bare products.

All have the same weights. Each is a call that computes z, or z and the gradients of x and of every
weight, in the task's dtype.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.tasks import Task, arrays
from nlcore_torch import NonLocalBlock

Call = Callable[[], object]
Weights = dict[str, Tensor]


def calls(task: Task, device: str = "cpu", only: str = "") -> dict[str, Call]:
    """The implementations that have the task, by name."""
    numpy_weights, numpy_x = arrays(task)
    dtype = getattr(torch, task.dtype)
    x = torch.from_numpy(numpy_x).to(device, dtype)  # (1, C, *positions)
    module = NonLocalBlock.from_spec(task.spec, device=device, dtype=dtype)
    module.import_weights(numpy_weights)
    weights = dict(module.state_dict())
    found: dict[str, Callable[[], Call]] = {
        "nlcore": lambda: _call(task, module, x),
        "mmcv": lambda: _mmcv(task, module, x),
        "materialized": lambda: _call(task, Plain(task, weights, attend), x),
        "products": lambda: products(task, weights, x),
    }
    if "gaussian" in task.pairwise:
        found["attention"] = lambda: _call(task, Plain(task, weights, fused), x)
    return {
        name: make() for name, make in found.items() if only in ("", name) and _able(name, task)
    }


def _able(name: str, task: Task) -> bool:
    """Whether it is installed and can compute the task."""
    if name != "mmcv":
        return True
    if task.pairwise == "concatenation":
        # 4 N M D bytes or more, and its backward direction fails in every version that runs
        if task.direction == "both" or task.queries * task.keys > 2_000_000:
            return False
    return importlib.util.find_spec("mmcv") is not None


def _call(task: Task, module: torch.nn.Module, x: Tensor) -> Call:
    if task.direction == "forward":
        module.eval()

        def forward() -> object:
            with torch.no_grad():
                return module(x)

        return forward
    module.train()
    x = x.detach().requires_grad_()
    parameters = [x, *module.parameters()]
    dz = torch.randn_like(x)
    return lambda: torch.autograd.grad(module(x), parameters, dz)


def _mmcv(task: Task, ours: NonLocalBlock, x: Tensor) -> Call:
    from mmcv.cnn.bricks.non_local import NonLocal3d

    module = NonLocal3d(
        task.channels,
        use_scale=False,
        norm_cfg={"type": "BN3d"},
        mode=task.pairwise,
        sub_sample=task.subsample is not None,
    ).to(x.device, x.dtype)
    own = {"theta": "theta", "phi": "phi", "g": "g", "out": "conv_out", "f": "concat_project"}
    for name, weight in ours.state_dict().items():
        part, kind = name.split(".")
        if part == "bn":
            continue
        layer: Any = getattr(module, own[part])
        layer = layer[0] if isinstance(layer, torch.nn.Sequential) else layer
        parameter = getattr(layer.conv, kind)
        parameter.data.copy_(weight.reshape(parameter.shape))
        if layer.conv.bias is not None:
            layer.conv.bias.data.zero_()
    torch.nn.init.ones_(module.conv_out.norm.weight)
    return _call(task, module, x)


class Plain(torch.nn.Module):
    """The block as ports of the paper write it: convolutions, and `attend` over all pairs."""

    def __init__(self, task: Task, weights: Weights, attend: Callable[..., Tensor]) -> None:
        super().__init__()
        self.task, self.attend = task, attend
        for name, weight in weights.items():
            part, kind = name.split(".")
            if part != "bn" and kind == "weight":
                self.register_parameter(part, torch.nn.Parameter(weight.clone()))
        self.bn = torch.nn.BatchNorm3d(task.channels, device=weights["out.weight"].device)
        self.bn.to(weights["out.weight"].dtype)

    def forward(self, x: Tensor) -> Tensor:
        theta = x if self.task.pairwise == "gaussian" else self._conv("theta", x)
        phi = x if self.task.pairwise == "gaussian" else self._conv("phi", x)
        g = self._conv("g", x)
        if self.task.subsample is not None:
            phi, g = (F.max_pool3d(keys, self.task.subsample) for keys in (phi, g))
        rows = (array.flatten(2).mT for array in (theta, phi, g))  # (B, N, D), (B, M, D) twice
        y = self.attend(self.task, *rows, getattr(self, "f", None))  # (B, N, D)
        y = y.mT.unflatten(2, x.shape[2:])  # (B, D, *positions)
        return self.bn(self._conv("out", y)) + x

    def _conv(self, part: str, x: Tensor) -> Tensor:
        return F.conv3d(x, getattr(self, part)[:, :, None, None, None])


def attend(task: Task, theta: Tensor, phi: Tensor, g: Tensor, f: Tensor | None) -> Tensor:
    """y (B, N, D) by way of all pairs, N x M."""
    if f is not None:  # the logits of [theta_i, phi_j], without repeating both N M times
        first, second = f.chunk(2)  # (D,), (D,)
        a, b = theta @ first, phi @ second  # (B, N), (B, M)
        pairs = F.relu(a[:, :, None] + b[:, None]) / phi.shape[1]  # (B, N, M)
    else:
        logits = torch.einsum("bnd,bmd->bnm", theta, phi)  # (B, N, M)
        pairs = logits / phi.shape[1] if task.pairwise == "dot_product" else logits.softmax(2)
    return torch.einsum("bnm,bmd->bnd", pairs, g)


def fused(task: Task, theta: Tensor, phi: Tensor, g: Tensor, f: Tensor | None) -> Tensor:
    """y (B, N, D) of a Gaussian by torch's fused attention, as torch chooses it."""
    rows = (array.unsqueeze(1) for array in (theta, phi, g))  # (B, 1, N, D), ...
    return F.scaled_dot_product_attention(*rows, scale=1.0).squeeze(1)


def products(task: Task, weights: Weights, x: Tensor) -> Call:
    """The matrix products that the formula cannot do without, on operands of its shapes.

    The embeddings stacked, W_z, and for a Gaussian theta phi^T and f g; for "both" the products of
    their gradients too. Nothing else: no softmax, no pooling, no normalization, no residual, and
    not the dot product's phi^T g; but the concatenation's theta, of which only w_f theta is needed.
    """
    gaussian = "gaussian" in task.pairwise
    embedded = task.pairwise != "gaussian"
    parts = ("theta", "phi", "g") if embedded else ("g",)
    stacked = torch.cat([weights[f"{part}.weight"] for part in parts])  # (3D, C)
    out = weights["out.weight"]  # (C, D)
    rows = x[0].flatten(1).T  # (N, C)
    width, keys = task.spec.inner_channels, task.keys
    y = rows[:, :width].contiguous()  # (N, D)
    dembedded = torch.randn(len(rows), len(stacked), device=x.device, dtype=x.dtype)  # (N, 3D)
    theta = dembedded[:, :width].contiguous() if embedded else rows
    phi, g = theta[:keys].contiguous(), y[:keys].contiguous()  # (M, D or C), (M, D)
    dz = torch.randn_like(x)[0].flatten(1)  # (C, N)

    pairs = x.new_empty((len(rows), keys) if gaussian else 0)  # (N, M), made once
    dpairs = torch.empty_like(pairs)  # (N, M)

    def forward() -> object:
        found = [rows @ stacked.T, out @ y.T]
        if gaussian:
            torch.mm(theta, phi.T, out=pairs)
            found.append(pairs @ g)
        return found

    def both() -> object:
        found = forward()
        if gaussian:
            torch.mm(y, g.T, out=dpairs)
            found += [pairs.T @ y, dpairs @ phi, dpairs.T @ theta]
        found += [dz.T @ out, dz @ y, dembedded @ stacked, dembedded.T @ rows]
        return found

    return forward if task.direction == "forward" else both
