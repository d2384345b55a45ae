"""The paper's video networks, which `nlcore.video.NetworkSpec` describes, as a module."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nlcore.video import Imported, NetworkSpec, network_weight_shapes
from nlcore.video.network_layers import BN_EPS, FC_STD, Conv, Pool, Residual, check_activation
from nlcore.video.network_weights import layer_of, selected_weights
from nlcore.video.running.run_folder import load_run
from nlcore_torch.arrays import array, tensor
from nlcore_torch.batch_norm import BatchNorm3d
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.parts import current_weights, unwrapped
from nlcore_torch.video.convolution import Conv3d
from nlcore_torch.video.folding import fold

Options = dict[str, Any]  # device, dtype


class Network(nn.Module):
    """C2D, I3D or a non-local network: clips (B, 3, T, H, W) -> logits (B, classes).

    Parameters
    ----------
    spec : nlcore.video.NetworkSpec
    identity : bool
        Whether the new non-local blocks are the identity, so that the network first computes the
        same as without them.
    device, dtype
        Device and dtype of the parameters.

    Notes
    -----
    Where ``spec.head`` pools windows, the logits are the mean of the windows' logits. `scores`
    averages what `spec` says. The windows do not depend on the mode of the network.

    The state dict has exactly the names and shapes of `nlcore.video.network_weight_shapes(spec)`.
    The initial weights of convolutions are those of He et al. 2015 with fan_out. The initial
    weights of fc are normal with standard deviation 0.01.

    Source: arXiv 1711.07971, Table 1 and Sec. 4.

    Examples
    --------
    >>> network = Network(NetworkSpec(non_local=("res4.4",), width=4, classes=10)).eval()
    >>> network(torch.zeros(1, 3, 8, 32, 32)).shape
    torch.Size([1, 10])
    """

    def __init__(
        self,
        spec: NetworkSpec,
        *,
        identity: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        options: Options = {"device": device, "dtype": dtype}
        conv1, pool1 = spec.stem
        self.conv1, self.bn1 = _conv(conv1, options)
        self.pool1, self.pool2 = _pool(pool1), _pool(spec.pool2)
        self.res2, self.res3, self.res4, self.res5 = (
            nn.Sequential(*(ResidualBlock(residual, identity, options) for residual in stage))
            for stage in spec.stages
        )
        self.dropout = nn.Dropout(spec.dropout)
        self.fc = nn.Linear(spec.features, spec.classes, **options)
        nn.init.normal_(self.fc.weight, 0.0, FC_STD)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of clips (B, 3, T, H, W).

        Raises
        ------
        ValueError
            A window of the head does not fit.
        """
        logits = self.window_logits(x)
        return logits if logits.ndim == 2 else logits.mean((1, 2))

    def window_logits(self, x: Tensor) -> Tensor:
        """Logits of every window, (B, H', W', classes), or (B, classes) for the head "mean"."""
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last_3d)
        x = self.pool1(F.relu(self.bn1(self.conv1(x)), inplace=True))  # (B, width, T', H', W')
        x = self.res3(self.pool2(self.res2(x)))
        x = self.res5(self.res4(x))  # (B, features, T', H', W')
        if self.spec.head == "mean":
            return self.fc(self.dropout(x.mean((2, 3, 4))))
        self.spec.windows(*x.shape[3:])
        x = F.avg_pool2d(x.mean(2), self.spec.head_window, 1)  # (B, features, H', W')
        return self.fc(self.dropout(x.movedim(1, -1)))

    def scores(self, x: Tensor, activation: str = "softmax") -> Tensor:
        """Scores (B, classes) of clips (B, 3, T, H, W): the activation of the logits.

        With ``spec.head = "windows"``, it is the mean of the activations of the windows' logits.
        Scores of half precision logits are computed in float32. Call ``eval()`` before.

        Parameters
        ----------
        x : Tensor
        activation : {"softmax", "sigmoid"}

        Raises
        ------
        ValueError
            The activation is unknown, or a window of the head does not fit.
        """
        check_activation(activation)
        windows = self.spec.head == "windows"
        logits = self.window_logits(x) if windows else self(x)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        scores = logits.sigmoid() if activation == "sigmoid" else logits.softmax(-1)
        return scores.mean((1, 2)) if windows else scores

    def fused(self) -> Network:
        """A copy for inference, with each batch normalization folded into the layer before it.

        It computes the same logits up to rounding, in less time. Its parameters are constants.

        Raises
        ------
        TypeError
            A convolution was replaced by a module of another class.
        """
        return fold(copy.deepcopy(self).eval().requires_grad_(False))

    @classmethod
    def from_run(cls, path: Path | str, *, device: torch.device | str | None = None) -> Network:
        """The trained network of a run's newest checkpoint, or of a checkpoint, in eval mode.

        Parameters
        ----------
        path : path
            Of the folder of a run, or of one of its `checkpoints`. Either framework may have
            trained it. A damaged checkpoint of a run is skipped with a warning.
        device : optional

        Raises
        ------
        ValueError
            There is no whole checkpoint.

        Examples
        --------
        >>> network = Network.from_run("runs/mine")  # doctest: +SKIP
        """
        found = load_run(path, warnings.warn)
        network = cls(found.recipe.network, device=device)
        network.import_weights(found.state.weights)
        return network.eval()

    def export_weights(self) -> dict[str, np.ndarray]:
        """The weights by name as NumPy arrays, with which the network computes.

        See `nlcore_torch.NonLocalBlock.export_weights`.

        Raises
        ------
        TypeError
            A layer was replaced by one of another class.
        """
        names = list(network_weight_shapes(self.spec))
        found: dict[str, np.ndarray] = {}
        for path in dict.fromkeys(layer_of(name) for name in names):
            found |= {f"{path}.{kind}": w for kind, w in _weights(self, path).items()}
        return {name: found[name] for name in names}

    def import_weights(self, weights: Mapping[str, Any], *, partial: bool = False) -> Imported:
        """Replace every weight by the array or tensor of the same name.

        The values are converted to the dtype of the module.

        Parameters
        ----------
        weights : mapping of str to array or Tensor
        partial : bool
            Whether weights may be missing, which keep their values, and left over. If False, this
            is an error. An fc with another number of classes is both.

        Returns
        -------
        nlcore.video.Imported
            The names that were missing or left over.

        Raises
        ------
        TypeError, ValueError
            See `nlcore.video.check_network_weights`. With `partial`: a weight has the wrong shape,
            or no name is the network's.
        """
        chosen, report = selected_weights(self.spec, weights, partial)
        state = {name: tensor(value) for name, value in chosen.items()}
        self.load_state_dict(state, strict=not partial)
        return report


class ResidualBlock(nn.Module):
    """ReLU(convolutions of x + shortcut of x), followed by the non-local block if there is one."""

    def __init__(self, residual: Residual, identity: bool, options: Options) -> None:
        super().__init__()
        first, second, third = residual.convs
        self.conv1, self.bn1 = _conv(first, options)
        self.conv2, self.bn2 = _conv(second, options)
        self.conv3, self.bn3 = _conv(third, options)
        self.shortcut: nn.Module | None = None
        if residual.shortcut is not None:
            self.shortcut, self.shortcut_bn = _conv(residual.shortcut, options)
        self.non_local: nn.Module | None = None
        if residual.non_local is not None:
            self.non_local = NonLocalBlock.from_spec(
                residual.non_local, identity=identity, **options
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T, H', W')."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.shortcut is None else self.shortcut_bn(self.shortcut(x))
        y = F.relu(y, inplace=True)
        return y if self.non_local is None else self.non_local(y)


def _conv(conv: Conv, options: Options) -> tuple[Conv3d, BatchNorm3d]:
    """A convolution without bias, and the batch normalization after it."""
    module = Conv3d(
        conv.inputs,
        conv.outputs,
        conv.kernel,
        conv.stride,
        conv.padding,
        bias=False,
        **options,
    )
    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    norm = BatchNorm3d(conv.outputs, BN_EPS, **options)
    return module, norm


def _pool(pool: Pool) -> nn.MaxPool3d:
    return nn.MaxPool3d(pool.kernel, pool.stride, pool.padding)


def _weights(network: Network, path: str) -> dict[str, np.ndarray]:
    layer = unwrapped(network.get_submodule(path))
    if isinstance(layer, NonLocalBlock):
        return layer.export_weights()
    if not isinstance(layer, (nn.Conv3d, nn.Linear, _BatchNorm)):
        raise TypeError(
            f"{path} must be a convolution, a linear layer or batch normalization of torch; "
            f"received a {type(layer).__name__}"
        )
    return {kind: np.array(array(weight)) for kind, weight in current_weights(layer).items()}
