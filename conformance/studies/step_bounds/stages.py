"""The stages of a network's forward pass, each with the errors that it may make by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Roundings of batch normalization, and of its factor, see `networks.BN_ROUNDINGS`.
ROUNDINGS = 8
#: Windows of pool1, which share a position, along T, H and W.
SHARED = 8


@dataclass
class Stage:
    """A stage of the network: its tensors, and the errors that it may make by itself.

    Attributes
    ----------
    layer : str
        Name of the layer, or of the residual block.
    x, y : Tensor
        Input and output, of which the loss is differentiated.
    forward : Tensor or float
        Errors of y.
    backward : function of dL/dy and dL/dx
        Errors of dL/dx, and of the gradients of weights by name.
    """

    layer: str
    x: Any
    y: Any
    forward: Any
    backward: Callable[[Any, Any], tuple[Any, dict[str, Any]]]


class Recorded:
    """The stages of one forward pass, by hooks."""

    def __init__(self, network: Any) -> None:
        import torch
        from networks import FLOAT64

        from nlcore_torch.batch_norm import BatchNorm3d
        from nlcore_torch.block import NonLocalBlock
        from nlcore_torch.video.network import ResidualBlock

        self.torch, self.arithmetic, self.stages = torch, FLOAT64, list[Stage]()
        self._hooks = []
        known: list[tuple[Any, Callable[..., None]]] = [
            (torch.nn.Conv3d, self._convolution),
            (BatchNorm3d, self._norm),
            (torch.nn.MaxPool3d, self._pool),
            (ResidualBlock, self._residual),
            (NonLocalBlock, self._block),
            (torch.nn.Linear, self._fc),
        ]
        for name, module in network.named_modules():
            for kind, record in known:
                if isinstance(module, kind) and ".non_local." not in name:
                    self._hooks.append(module.register_forward_hook(_named(record, name)))

    def _convolution(self, name: str, module: Any, x: Any, y: Any) -> None:
        torch, gamma = self.torch, self.arithmetic.gamma
        outputs, terms = module.weight.shape[0], module.weight[0].numel()
        kernel = terms // module.weight.shape[1]

        def sizes(values: Any = None) -> Any:
            """Sums of absolute values like the output, or like the gradients of (x, weight)."""
            given = [t.detach().abs().requires_grad_() for t in (x, module.weight)]
            found = torch.nn.functional.conv3d(*given, None, module.stride, module.padding)
            if values is None:
                return found.detach()
            return torch.autograd.grad(found, given, values.abs())

        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            of_x, of_weight = sizes(dy)
            positions = y.numel() // outputs
            return gamma(outputs * kernel) * of_x, {f"{name}.weight": gamma(positions) * of_weight}

        self.stages.append(Stage(name, x, y, gamma(terms) * sizes(), backward))

    def _norm(self, name: str, module: Any, x: Any, y: Any) -> None:
        unit, over = self.arithmetic.unit, (-1, 1, 1, 1)
        inverse = (1 / (module.running_var + module.eps).sqrt()).view(over)
        factor = inverse * module.weight.detach().abs().view(over)
        size = x.detach().abs() + module.running_mean.abs().view(over)
        bias = module.bias.detach().abs().view(over)

        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            axes = (0, 2, 3, 4)
            sums = self.arithmetic.gamma(y.numel() // y.shape[1] + ROUNDINGS)
            weight = sums * (dy.abs() * size * inverse).sum(axes)
            own = {f"{name}.weight": weight, f"{name}.bias": sums * dy.abs().sum(axes)}
            return ROUNDINGS * unit * factor * dy.abs(), own

        self.stages.append(Stage(name, x, y, ROUNDINGS * unit * (factor * size + bias), backward))

    def _pool(self, name: str, module: Any, x: Any, y: Any) -> None:
        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            given = x.detach().requires_grad_()
            (size,) = self.torch.autograd.grad(module.forward(given), given, dy.abs())
            return self.arithmetic.gamma(SHARED) * size, {}

        self.stages.append(Stage(name, x, y, 0.0, backward))

    def _residual(self, name: str, module: Any, x: Any, y: Any) -> None:
        """The sum of two paths, and of the gradients of both."""
        unit = self.arithmetic.unit
        total = self.stages[-1].x if module.non_local is not None else y
        forward = unit * total.detach().abs()
        self.stages.append(Stage(name, x, total, forward, lambda dy, dx: (unit * dx.abs(), {})))

    def _block(self, name: str, module: Any, x: Any, y: Any) -> None:
        from nlcore_conformance.bounds.block_bounds import block_bounds

        weights = {n: value.numpy() for n, value in module.state_dict().items()}
        rows = x.detach().numpy()
        forward = block_bounds(module.spec, weights, rows, dtype="float64", pairs=2**23)["z"]

        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            bounds = block_bounds(module.spec, weights, rows, dy.numpy(), dtype="float64")
            found = {n: self.torch.from_numpy(b) for n, b in bounds.items() if n != "z"}
            return found.pop("dx"), {f"{name}.{n}": bound for n, bound in found.items()}

        self.stages.append(Stage(name, x, y, self.torch.from_numpy(forward), backward))

    def _fc(self, name: str, module: Any, x: Any, y: Any) -> None:
        """The mean over all positions, or over the only window, and fc."""
        gamma, values = self.arithmetic.gamma, self.stages[-1].y
        count, classes = values[0, 0].numel(), module.weight.shape[0]
        mean = gamma(count + 2) * values.detach().abs().mean((2, 3, 4)).view(x.shape)
        self.stages.append(
            Stage("mean", values, x, mean, lambda dy, dx: (2 * self.arithmetic.unit * dx.abs(), {}))
        )
        size, weight = x.detach().abs(), module.weight.detach().abs()

        def backward(dy: Any, dx: Any) -> tuple[Any, dict[str, Any]]:
            rows, logits = gamma(len(dy)), dy.abs().view(-1, classes)  # of one window for each clip
            terms = logits.T @ size.view(-1, size.shape[-1])
            own = {f"{name}.weight": rows * terms, f"{name}.bias": rows * logits.sum(0)}
            return gamma(classes) * dy.abs() @ weight, own

        forward = gamma(weight.shape[1] + 1) * (size @ weight.T + module.bias.detach().abs())
        self.stages.append(Stage(name, x, y, forward, backward))

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _named(record: Callable[..., None], name: str) -> Callable[..., None]:
    return lambda module, inputs, output: record(name, module, inputs[0], output)
