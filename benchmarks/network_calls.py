"""Who computes a whole network: nlcore, SlowFast, pytorchvideo, and the bare products.

All have the same weights, which are random. Each is a call that computes the scores of clips, or a
step of stochastic gradient descent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.bare_products import bare_products
from nlcore.checkpoints import PUBLISHED
from nlcore.video import NetworkSpec
from nlcore_torch.adapters.origin_networks import pytorchvideo_network, slowfast_network
from nlcore_torch.convert import export_network
from nlcore_torch.video.network import Network

Call = Callable[[], object]
#: SlowFast's networks, which nlcore and pytorchvideo build alike.
ARCHITECTURES = {
    "C2D": "C2D_8x8_R50",
    "I3D": "I3D_8x8_R50",
    "NL C2D": "C2D_NLN_8x8_R50",
    "NL I3D": "I3D_NLN_8x8_R50",
}
PEERS = {"slowfast": slowfast_network, "pytorchvideo": pytorchvideo_network}
#: Clips (B, 3, T, H, W) of each direction: the paper's, in training and testing, and small ones.
SIZES = {
    "inference": ((1, 3, 32, 224, 224), (1, 3, 32, 256, 340)),
    "training": ((1, 3, 32, 224, 224), (8, 3, 8, 112, 112)),
}


@dataclass(frozen=True)
class NetworkTask:
    """A ResNet-50, clips, and one direction: "inference" or "training"."""

    architecture: str
    direction: str
    clips: tuple[int, ...]  # (B, 3, T, H, W)

    @property
    def spec(self) -> NetworkSpec:
        """The published spec without dropout. In training, the head has one window."""
        _, spec = PUBLISHED[ARCHITECTURES[self.architecture]]
        side = -(-min(self.clips[3:]) // 32)  # of res5
        if self.direction == "inference":
            return replace(spec, head_window=min(spec.head_window, side))
        return replace(spec, dropout=0.0, head="window_logits", head_window=side)

    def names(self, device: str = "cpu") -> tuple[str, ...]:
        """The implementations that are installed, and on a CPU the bare products."""
        own = ("nlcore", "fused") if self.direction == "inference" else ("nlcore",)
        bare = ("products",) if device == "cpu" else ()  # a GPU's fused kernels contain products
        return *own, *(name for name in PEERS if find_spec(name)), *bare

    @property
    def line(self) -> str:
        """The task in a few words."""
        return f"{self.architecture} {self.direction} {'x'.join(map(str, self.clips))}"


def tasks() -> list[NetworkTask]:
    """Every direction, size and architecture."""
    return [
        NetworkTask(architecture, direction, clips)
        for direction, sizes in SIZES.items()
        for clips in sizes
        for architecture in reversed(ARCHITECTURES)
    ]


def call_of(task: NetworkTask, name: str, device: str = "cpu") -> Call:
    """The call of one implementation."""
    torch.manual_seed(0)
    network = _calibrated(task.spec).to(device)
    x = torch.randn(task.clips, device=device)
    if name == "products":
        fused = task.direction == "inference"
        return bare_products(_call(task, network.fused() if fused else network, x))
    if name in PEERS:
        theirs = _peer(name, task, network).to(device)
        inputs = (lambda: [x]) if name == "slowfast" else (lambda: x)  # slowfast writes to the list
        return _call(task, theirs, inputs)
    return _call(task, network.fused() if name == "fused" else network, x)


def _calibrated(spec: NetworkSpec) -> Network:
    """A network whose running statistics are those of noise, so that activations do not grow."""
    network = Network(spec, identity=False)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    side = 32 * spec.head_window
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        network.train()(torch.randn(1, 3, 8, side, side))
        for norm in norms:
            norm.momentum = 0.1
    return network


def _peer(name: str, task: NetworkTask, ours: Network) -> nn.Module:
    """Another project's network of the task, with the weights of ours."""
    spec = task.spec
    theirs = PEERS[name](spec, task.clips[2:], 32 * spec.head_window)
    state = export_network(spec, ours.export_weights(), name)
    wrong = theirs.load_state_dict(state, strict=False)
    if wrong.unexpected_keys or not all("num_batches" in n for n in wrong.missing_keys):
        raise ValueError(f"{name}'s network must have the weights of {spec}; received {wrong}")
    return theirs


def _call(task: NetworkTask, network: Any, x: Tensor | Callable[[], object]) -> Call:
    inputs = x if callable(x) else lambda: x
    if task.direction == "inference":
        network.eval()
        compute = network.scores if isinstance(network, Network) else network

        def scores() -> object:
            with torch.no_grad():
                return compute(inputs())

        return scores
    network.train()
    optimizer = torch.optim.SGD(
        network.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    labels = torch.arange(task.clips[0], device=next(network.parameters()).device)

    def step() -> object:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(inputs()), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
