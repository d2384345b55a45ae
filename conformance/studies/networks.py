"""Do PyTorch's network and Keras' compute the same, given one file?

    python conformance/studies/networks.py reduced       # every architecture and placement
    python conformance/studies/networks.py clip VIDEO    # ResNet-50 with 5 blocks, full width

Both compute logits in float64. Each may be as far from the exact logits as a first-order bound: the
sum over every layer and every element of |d logit / d element| times the rounding error that the
layer may make there. The bound assumes nothing about how the errors of elements combine. Keras runs
on TensorFlow: on its other engines Keras itself rounds float64 to float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import safetensors.numpy
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from nlcore.video import NetworkSpec, placement
from nlcore.video.network_layers import DEPTHS, INFLATIONS
from nlcore.video.reading import cropped, normalized, read_clip
from nlcore_conformance.bounds.arithmetic import arithmetic
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_keras.video.network import Network as KerasNetwork
from nlcore_torch.batch_norm import BatchNorm3d
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.video.network import Network, ResidualBlock

FLOAT64 = arithmetic("float64")
#: Roundings of batch normalization with constant statistics: its factor w / sqrt(var + eps) and
#: its shift have four each, then there are a product and two sums.
BN_ROUNDINGS = 8
#: More pairs than res3 of a whole clip has, so that its blocks are bounded at every position.
PAIRS = 2**23

app = typer.Typer(add_completion=False)


class Agreement(NamedTuple):
    """Two networks' logits, and how far apart they may be."""

    torch: np.ndarray  # (B, classes)
    keras: np.ndarray  # (B, classes)
    bounds: np.ndarray  # (B, len(judged))
    judged: tuple[int, ...]  # classes

    @property
    def ratio(self) -> float:
        """The largest difference / bound; above 1 they do not agree."""
        judged = list(self.judged)
        return float((np.abs(self.torch - self.keras)[:, judged] / self.bounds).max())


def agreement(spec: NetworkSpec, clips: np.ndarray, judged: Sequence[int] = ()) -> Agreement:
    """Logits of both networks with random weights from one .safetensors file.

    Parameters
    ----------
    clips : (B, 3, T, H, W)
        float64.
    judged
        The classes whose logits are judged, each at the cost of one backward pass; all by default.
    """
    network = Network(spec, identity=False, dtype=torch.float64).eval()
    calibrate(network, torch.from_numpy(clips))
    other = KerasNetwork(spec, dtype="float64", data_format="channels_last")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "network.safetensors"
        safetensors.numpy.save_file(network.export_weights(), file)
        network.import_weights(safetensors.numpy.load_file(file))
        other.import_weights(safetensors.numpy.load_file(file))
    chosen = tuple(judged) or tuple(range(spec.classes))
    logits, bounds = logit_bounds(network, torch.from_numpy(clips), chosen)
    found = keras.ops.convert_to_numpy(other(np.moveaxis(clips, 1, -1), training=False))
    return Agreement(logits, found, 2 * bounds, chosen)  # each is within one


def calibrate(network: Network, clips: Tensor) -> None:
    """Make these clips' statistics the running ones, so that activations neither grow nor fade."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm3d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(clips)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    network.eval()


class Roundings:
    """Hooks that record each stage's values, and the errors that the stage itself may make in them.

    Attributes
    ----------
    stages
        (values, errors) of each stage, shaped alike, in the order in which they are computed.
    """

    def __init__(self, network: Network) -> None:
        self.stages: list[tuple[Tensor, Tensor]] = []
        self._convolved: list[Tensor] = []  # errors of the convolution before a normalization
        self._last: list[Tensor] = []  # res5's values
        self._hooks = [
            network.res5.register_forward_hook(lambda m, i, output: self._last.append(output)),
            network.fc.register_forward_hook(self._features),
        ]
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.Conv3d):
                self._hooks.append(module.register_forward_hook(self._convolution))
            elif isinstance(module, BatchNorm3d) and ".non_local." not in name:
                self._hooks.append(module.register_forward_hook(self._norm))
            elif isinstance(module, NonLocalBlock):
                self._hooks.append(module.register_forward_hook(self._non_local))
            elif isinstance(module, ResidualBlock):
                self._hooks.append(module.register_forward_hook(self._residual))

    def remove(self) -> None:
        """Remove the hooks from the network."""
        for hook in self._hooks:
            hook.remove()

    def _convolution(self, module: Any, inputs: tuple[Tensor], _: Tensor) -> None:
        size = torch.nn.functional.conv3d(
            inputs[0].detach().abs(),
            module.weight.detach().abs(),
            None,
            module.stride,
            module.padding,
        )  # sum of the terms' absolute values, like the output
        self._convolved.append(FLOAT64.gamma(module.weight[0].numel()) * size)

    def _norm(self, module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        over = (-1, 1, 1, 1)  # channels of (B, C, T, H, W)
        factor = (module.weight / (module.running_var + module.eps).sqrt()).detach().abs()
        shift = factor * module.running_mean.abs() + module.bias.detach().abs()
        size = factor.view(over) * inputs[0].detach().abs() + shift.view(over)
        error = factor.view(over) * self._convolved.pop() + BN_ROUNDINGS * FLOAT64.unit * size
        self.stages.append((output, error))

    def _sum(self, values: Tensor) -> None:
        self.stages.append((values, FLOAT64.unit * values.detach().abs()))

    def _non_local(self, module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        self._sum(inputs[0])  # the residual block's own
        weights = {name: value.numpy() for name, value in module.state_dict().items()}
        x = inputs[0].detach().numpy()  # (B, C, T, H, W)
        error = block_bounds(module.spec, weights, x, dtype="float64", pairs=PAIRS)["z"]
        self.stages.append((output, torch.from_numpy(error)))

    def _residual(self, module: Any, _: Any, output: Tensor) -> None:
        if module.non_local is None:
            self._sum(output)

    def _features(self, _: Any, inputs: tuple[Tensor], __: Tensor) -> None:
        mean, values = inputs[0], self._last[-1]
        size = values.detach().abs().mean((2, 3, 4))
        self.stages.append((mean, FLOAT64.gamma(values[0, 0].numel()) * size))


def logit_bounds(
    network: Network, clips: Tensor, classes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, all classes), and bounds of those of `classes`, (B, len(classes)).

    A first-order bound of the rounding errors of a network in float64, in evaluation.
    """
    roundings = Roundings(network)
    try:
        logits = network(clips)  # (B, all classes)
    finally:
        roundings.remove()
    values = [value for value, _ in roundings.stages]
    weight = network.fc.weight.detach().abs()  # (all classes, features)
    size = values[-1].detach().abs() @ weight.T + network.fc.bias.detach().abs()
    own = FLOAT64.gamma(weight.shape[1]) * size  # (B, all classes): fc's
    bounds = []
    for chosen in track(classes, "bounds", transient=True, disable=len(classes) < 9):
        slopes = torch.autograd.grad(logits[:, chosen].sum(), values, retain_graph=True)
        error = own[:, chosen].clone()  # (B,)
        for slope, (_, of_stage) in zip(slopes, roundings.stages, strict=True):
            error += (slope.abs() * of_stage).flatten(1).sum(1)
        bounds.append(error.numpy())
    return logits.detach().numpy(), np.stack(bounds, 1)


def reduced() -> Iterator[tuple[str, NetworkSpec]]:
    """Every architecture with every placement of the paper, 4 channels wide, 5 classes."""
    for depth, inflation in product(DEPTHS, INFLATIONS):
        name = f"ResNet-{depth}, {'C2D' if inflation == 'none' else 'I3D ' + inflation}"
        places = {f"{n} blocks": placement(depth, n) for n in (0, 1, 5)}
        if depth == 50:
            places["10 blocks"] = placement(depth, 10)
        for stage, count in enumerate(DEPTHS[depth]):  # Table 2b: before its last residual block
            places[f"res{stage + 2}"] = (f"res{stage + 2}.{count - 2}",)
        for place, blocks in places.items():
            yield f"{name}, {place}", NetworkSpec(depth, inflation, blocks, width=4, classes=5)


@app.command("reduced")
def every() -> None:
    """Every architecture and placement, 4 channels wide, on noise."""
    clips = np.random.default_rng(0).normal(size=(2, 3, 8, 64, 64))
    torch.manual_seed(0)
    specs = list(reduced())
    show([(name, agreement(spec, clips)) for name, spec in track(specs, "networks")])


@app.command()
def clip(
    video: Annotated[Path, typer.Argument(help="Any file that FFmpeg reads.")],
    frames: Annotated[int, typer.Option(help="Of the clip, every second one.")] = 32,
    crop: Annotated[int, typer.Option(help="Pixels a side of its middle.")] = 224,
    classes: Annotated[int, typer.Option(help="How many of the 400 logits are judged.")] = 8,
) -> None:
    """C2D ResNet-50 with 5 blocks at full width, 400 classes, on a clip of a video."""
    values = normalized(cropped(read_clip(video, frames).frames, crop)).astype(np.float64)
    torch.manual_seed(0)
    spec = NetworkSpec(non_local=placement(50, 5))
    chosen = tuple(range(0, spec.classes, spec.classes // classes))[:classes]
    show([(f"ResNet-50, C2D, 5 blocks, {video.name}", agreement(spec, values, chosen))])


def show(found: Sequence[tuple[str, Agreement]]) -> None:
    """Print a table, and exit with 1 unless all agree."""
    table = Table("network", "largest logit", "largest difference", "its bound", "ratio")
    for name, a in found:
        apart = np.abs(a.torch - a.keras)[:, list(a.judged)]
        worst = np.unravel_index((apart / a.bounds).argmax(), apart.shape)
        sizes = (np.abs(a.torch).max(), apart[worst], a.bounds[worst], a.ratio)
        table.add_row(name, *(f"{size:.3g}" for size in sizes))
    Console().print(table)
    if not all(a.ratio <= 1 for _, a in found):  # a NaN does not agree either
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
