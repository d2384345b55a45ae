"""Do PyTorch's network and Keras' compute the same, given one file? And their origins' own code?

    python conformance/studies/networks.py reduced       # every architecture and placement
    python conformance/studies/networks.py clip VIDEO    # ResNet-50 with 5 blocks, full width
    python conformance/studies/networks.py origins       # SlowFast and pytorchvideo, as installed

All compute logits, and scores, in float64. Each may be as far from the exact ones as a first-order
bound: the sum over every layer and every element of |d logit / d element| times the rounding error
that the layer may make there. The bound assumes nothing about how the errors of elements combine.
Keras runs on the engine that KERAS_BACKEND names, by default TensorFlow.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("JAX_ENABLE_X64", "1")
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

from nlcore.checkpoints import PUBLISHED
from nlcore.video import NetworkSpec, placement
from nlcore.video.network_layers import DEPTHS, INFLATIONS
from nlcore.video.reading import cropped, normalized, read_clip
from nlcore_conformance.bounds.arithmetic import arithmetic
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_keras.video.network import Network as KerasNetwork
from nlcore_torch.adapters.origin_networks import pytorchvideo_network, slowfast_network
from nlcore_torch.batch_norm import BatchNorm3d
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.convert import convert_network, export_network
from nlcore_torch.video.network import Network, ResidualBlock

FLOAT64 = arithmetic("float64")
#: Roundings of batch normalization with constant statistics: its factor w / sqrt(var + eps) and
#: its shift have four each, then there are a product and two sums.
BN_ROUNDINGS = 8
#: Roundings of a weight into which such a factor is folded: the factor's four and the product. The
#: shift, which is the convolution's bias then, has one more than the factor.
FOLDED_ROUNDINGS = 5
#: More pairs than res3 of a whole clip has, so that its blocks are bounded at every position.
PAIRS = 2**23

app = typer.Typer(add_completion=False)


class Agreement(NamedTuple):
    """Two networks' logits or scores, and how far apart they may be."""

    ours: np.ndarray  # (B, classes)
    theirs: np.ndarray  # (B, classes)
    bounds: np.ndarray  # (B, len(judged))
    judged: tuple[int, ...]  # classes

    @property
    def ratio(self) -> float:
        """The largest difference / bound; above 1 they do not agree."""
        judged = list(self.judged)
        return float((np.abs(self.ours - self.theirs)[:, judged] / self.bounds).max())


def agreement(
    spec: NetworkSpec, clips: np.ndarray, judged: Sequence[int] = (), *, scores: bool = False
) -> Agreement:
    """PyTorch's and Keras' logits with random weights from one .safetensors file.

    Parameters
    ----------
    clips : (B, 3, T, H, W)
        float64.
    judged
        The classes whose logits are judged, each at the cost of one backward pass; all by default.
    scores
        Whether scores are compared, instead of logits.
    """
    network = calibrated(spec, clips)
    other = KerasNetwork(spec, dtype="float64", data_format="channels_last")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "network.safetensors"
        safetensors.numpy.save_file(network.export_weights(), file)
        network.import_weights(safetensors.numpy.load_file(file))
        other.import_weights(safetensors.numpy.load_file(file))
    chosen = tuple(judged) or tuple(range(spec.classes))
    ours, bounds = output_bounds(network, torch.from_numpy(clips), chosen, scores=scores)
    last = np.moveaxis(clips, 1, -1)
    found = other.scores(last) if scores else other(last, training=False)
    theirs = keras.ops.convert_to_numpy(found)
    return Agreement(ours, theirs, 2 * bounds, chosen)  # each is within one


def origin_agreement(name: str, spec: NetworkSpec, clips: np.ndarray, *, scores: bool) -> Agreement:
    """The logits or scores of the converted network and of its origin's own code.

    Parameters
    ----------
    name : {"slowfast", "pytorchvideo"}
    clips : (B, 3, T, H, W)
        float64. Their logits are compared for clips of the size in training, with one window.
    """
    build = {"slowfast": slowfast_network, "pytorchvideo": pytorchvideo_network}[name]
    theirs = build(spec, clips.shape[2:], 32 * spec.head_window).double()
    state = export_network(spec, calibrated(spec, clips).export_weights(), name)
    wrong = theirs.load_state_dict(state, strict=False)
    assert not wrong.unexpected_keys and all("num_batches" in n for n in wrong.missing_keys), wrong
    network = Network(spec, dtype=torch.float64).eval()
    converted = convert_network(theirs.state_dict(), spec, name)
    assert not converted.notes, converted.notes  # it is the origin's own network
    network.import_weights(converted.weights)
    ours, bounds = output_bounds(
        network, torch.from_numpy(clips), range(spec.classes), scores=scores
    )
    theirs.eval()
    if name == "slowfast":
        theirs.get_submodule("head").train(
            not scores
        )  # in training, it returns the logits of the only window
    x = torch.from_numpy(clips)
    with torch.no_grad():
        found = theirs([x] if name == "slowfast" else x)
        if scores and spec.head == "window_logits":
            found = found.softmax(1)
    return Agreement(ours, found.numpy(), 2 * bounds, tuple(range(spec.classes)))


def folded_agreement(spec: NetworkSpec, clips: np.ndarray) -> Agreement:
    """PyTorch's logits before and after its normalizations are folded (`Network.fused`).

    Parameters
    ----------
    clips : (B, 3, T, H, W)
        float64.
    """
    network, x = calibrated(spec, clips), torch.from_numpy(clips)
    for norm in (module for module in network.modules() if isinstance(module, BatchNorm3d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias)
    chosen = tuple(range(spec.classes))
    ours, bounds = output_bounds(network, x, chosen)
    _, folded = output_bounds(network, x, chosen, folded=True)
    with torch.no_grad():
        theirs = network.fused()(x).numpy()
    return Agreement(ours, theirs, bounds + folded, chosen)


def calibrated(spec: NetworkSpec, clips: np.ndarray) -> Network:
    """A network with random weights, and the statistics of these clips."""
    network = Network(spec, identity=False, dtype=torch.float64).eval()
    calibrate(network, torch.from_numpy(clips))
    return network


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

    Parameters
    ----------
    folded
        Whether the errors are those of a network whose normalizations are folded into convolutions.

    Attributes
    ----------
    stages
        (values, errors) of each stage, shaped alike, in the order in which they are computed.
    """

    def __init__(self, network: Network, *, folded: bool = False) -> None:
        self.stages: list[tuple[Tensor, Tensor]] = []
        self._folded = folded
        # of the convolution before a normalization: its terms, and their absolute values' sum
        self._convolved: list[tuple[int, Tensor]] = []
        self._last: list[Tensor] = []  # res5's values
        self._hooks = [
            network.res5.register_forward_hook(lambda m, i, output: self._last.append(output)),
            network.fc.register_forward_hook(self._fc),
        ]
        self._side = None if network.spec.head == "mean" else network.spec.head_window
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
        self._convolved.append((module.weight[0].numel(), size))

    def _norm(self, module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        over = (-1, 1, 1, 1)  # channels of (B, C, T, H, W)
        factor = (module.weight / (module.running_var + module.eps).sqrt()).detach().abs()
        shift = factor * module.running_mean.abs() + module.bias.detach().abs()
        terms, size = self._convolved.pop()
        size = factor.view(over) * size
        if self._folded:  # one sum, in which the bias may be the first term
            weights, bias = FOLDED_ROUNDINGS, FOLDED_ROUNDINGS + 1
            error = FLOAT64.gamma(terms + 1 + weights) * size
            error = error + FLOAT64.gamma(terms + 1 + bias) * shift.view(over)
        else:
            convolved = factor.view(over) * inputs[0].detach().abs()
            error = FLOAT64.gamma(terms) * size
            error = error + BN_ROUNDINGS * FLOAT64.unit * (convolved + shift.view(over))
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

    def _fc(self, module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        mean, values = inputs[0], self._last[-1]
        size, count = values.detach().abs().mean(2), values[0, 0].numel()  # (B, features, H, W)
        if self._side is None:
            size = size.mean((2, 3))
        else:
            size = torch.nn.functional.avg_pool2d(size, self._side, 1).movedim(1, -1)
            count = values.shape[2] * self._side**2 + 2  # a product by 1 / count, or two
        self.stages.append((mean, FLOAT64.gamma(count) * size))
        weight = module.weight.detach().abs()  # (classes, features)
        size = mean.detach().abs() @ weight.T + module.bias.detach().abs()
        self.stages.append((output, FLOAT64.gamma(weight.shape[1]) * size))


def output_bounds(
    network: Network,
    clips: Tensor,
    classes: Sequence[int],
    *,
    scores: bool = False,
    folded: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits or scores (B, all classes), and bounds of those of `classes`, (B, len(classes)).

    A first-order bound of the rounding errors of a network in float64, in evaluation. `folded` is
    that of `Roundings`.
    """
    roundings = Roundings(network, folded=folded)
    try:
        outputs = network.scores(clips) if scores else network(clips)  # (B, all classes)
    finally:
        roundings.remove()
    values = [value for value, _ in roundings.stages]
    own = _output_errors(values[-1].detach(), network.spec.head, scores)  # (B, all classes)
    bounds = []
    for chosen in track(classes, "bounds", transient=True, disable=len(classes) < 9):
        slopes = torch.autograd.grad(outputs[:, chosen].sum(), values, retain_graph=True)
        error = own[:, chosen].clone()  # (B,)
        for slope, (_, of_stage) in zip(slopes, roundings.stages, strict=True):
            error += (slope.abs() * of_stage).flatten(1).sum(1)
        bounds.append(error.numpy())
    return outputs.detach().numpy(), np.stack(bounds, 1)


def _output_errors(logits: Tensor, head: str, scores: bool) -> Tensor:
    """Rounding errors (B, classes) of the mean over windows, and of the softmax before or after it.

    `logits` are the windows', (B, H', W', classes), or (B, classes). With z and the maximum m, the
    terms e = exp(z - m) have relative errors of |z - m| u and four more, as in `block_bounds`. Then
    there are the sum of `classes` terms and a quotient.
    """
    windows = logits.flatten(1, -2) if logits.ndim == 4 else logits[:, None]  # (B, P, classes)
    mean = FLOAT64.gamma(windows.shape[1]) if windows.shape[1] > 1 else 0.0
    if scores and head == "windows":
        return (softmax_errors(windows) + mean * windows.softmax(-1)).mean(1)
    errors = mean * windows.abs().mean(1)
    if not scores:
        return errors
    z = windows.mean(1)
    p = z.softmax(-1)
    spread = p * (errors + (p * errors).sum(-1, keepdim=True))  # of the mean, through the softmax
    return spread + softmax_errors(z)


def softmax_errors(z: Tensor) -> Tensor:
    p, u = z.softmax(-1), FLOAT64.unit
    term = u * ((z - z.amax(-1, keepdim=True)).abs() + 4)
    total = (p * term).sum(-1, keepdim=True) + FLOAT64.gamma(z.shape[-1]) + u
    return p * (term + total)


def reduced() -> Iterator[tuple[str, NetworkSpec]]:
    """Every architecture with every placement of the paper, 4 channels wide, 5 classes."""
    for depth, inflation in product((50, 101), INFLATIONS):
        name = f"ResNet-{depth}, {'C2D' if inflation == 'none' else 'I3D ' + inflation}"
        places = {f"{n} blocks": placement(depth, n) for n in (0, 1, 5)}
        if depth == 50:
            places["10 blocks"] = placement(depth, 10)
        for stage, count in enumerate(DEPTHS[depth]):  # Table 2b: before its last residual block
            places[f"res{stage + 2}"] = (f"res{stage + 2}.{count - 2}",)
        for place, blocks in places.items():
            yield f"{name}, {place}", NetworkSpec(depth, inflation, blocks, width=4, classes=5)


def as_published() -> Iterator[tuple[str, NetworkSpec]]:
    """Published networks of every origin, 4 channels wide, 5 classes, with windows of 1 x 1."""
    yield "ResNet-152, 1 block", NetworkSpec(152, non_local=placement(152, 1), width=4, classes=5)
    for name, (origin, spec) in PUBLISHED.items():
        if spec.non_local or origin == "pytorchvideo":
            yield f"{origin}, {name}", narrow(spec)


def narrow(spec: NetworkSpec) -> NetworkSpec:
    """The spec with 4 channels, 5 classes and windows of 1 x 1, without dropout."""
    return replace(spec, width=4, classes=5, head_window=1, dropout=0.0)


def of_origins() -> Iterator[tuple[str, str, NetworkSpec]]:
    """Name, origin and spec of the networks that SlowFast's and pytorchvideo's code builds."""
    for name, (origin, spec) in PUBLISHED.items():
        if origin in ("slowfast", "pytorchvideo"):
            yield name, origin, narrow(spec)
        if origin == "pytorchvideo":  # it publishes none with blocks
            five = replace(narrow(spec), non_local=placement(50, 5))
            yield f"{name}, 5 blocks", origin, five
            dots = replace(five, head="windows", block={"pairwise": "dot_product"})
            yield f"{name}, 5 dot products, windows", origin, dots


@app.command("reduced")
def every() -> None:
    """Every architecture and placement, and published ones, 4 channels wide, on noise."""
    torch.manual_seed(0)
    found = []
    for name, spec in track([*reduced(), *as_published()], "networks"):
        windows = any(block.window for block in spec.blocks.values())  # of 4 frames in res3
        frames = 4 * math.prod(spec.temporal_strides) if windows else 8
        clips = np.random.default_rng(0).normal(size=(2, 3, frames, 64, 64))
        found.append((name, agreement(spec, clips)))
        if spec.head != "mean":
            found.append((f"{name}, scores", agreement(spec, clips, scores=True)))
    show(found)


@app.command()
def origins() -> None:
    """Published networks of SlowFast and pytorchvideo against these projects' own code, on noise.

    Logits are compared at the size of training clips, scores at the size of test clips.
    """
    torch.manual_seed(0)
    random, found = np.random.default_rng(0), []
    sizes = {"logits": (2, 3, 8, 32, 32), "scores": (2, 3, 8, 64, 96)}
    for name, origin, spec in track(list(of_origins()), "networks"):
        for what, size in sizes.items():
            if origin == "pytorchvideo" and spec.head == "windows" and what == "logits":
                continue  # its softmax is a part of the network
            clips = random.normal(size=size)
            result = origin_agreement(origin, spec, clips, scores=what == "scores")
            found.append((f"{origin}, {name}, {what}", result))
    show(found)


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
    table = Table("network", "largest output", "largest difference", "its bound", "ratio")
    for name, a in found:
        apart = np.abs(a.ours - a.theirs)[:, list(a.judged)]
        worst = np.unravel_index((apart / a.bounds).argmax(), apart.shape)
        sizes = (np.abs(a.ours).max(), apart[worst], a.bounds[worst], a.ratio)
        table.add_row(name, *(f"{size:.3g}" for size in sizes))
    Console().print(table)
    if not all(a.ratio <= 1 for _, a in found):  # a NaN does not agree either
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
