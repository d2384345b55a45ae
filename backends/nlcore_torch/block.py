"""NonLocalBlock: the block as a module whose parameters have nlcore's names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nlcore import NonLocalSpec, check_weights, weight_shapes
from nlcore.weights import init_std, starts_constant
from nlcore_torch.arrays import array, tensor
from nlcore_torch.ops import batch_norm, check_dtypes, check_tensor
from nlcore_torch.response import response


class NonLocalBlock(nn.Module):
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j), for 1, 2 or 3 axes.

    Takes and returns (B, C, *positions), positions being (T,), (H, W) or (T, H, W). In training
    mode batch normalization uses the batch's statistics and updates the running ones (the
    variance unbiased; a batch of one value per channel has none and updates nothing).

    Parameters
    ----------
    channels, inner_channels, ndim, **spec_fields
        The fields of `nlcore.NonLocalSpec`, which says what each means.
    init : {"he", "normal"}
        Random weights: normal, of standard deviation sqrt(2 / fan_in) or 0.01.
    identity : bool
        Start as the identity, z = x: batch normalization's weight is 0, or without batch
        normalization W_z and its bias are.
    momentum : float
        The weight of the new batch in the running statistics, in PyTorch's convention.
    device, dtype
        Of the parameters.

    Attributes
    ----------
    spec : NonLocalSpec

    Raises
    ------
    TypeError, ValueError
        On construction, for a wrong field; when called, for an x that does not fit the spec or,
        other than under autocast, is not of the parameters' dtype.

    Notes
    -----
    The state dict holds just the names and shapes of `nlcore.weight_shapes(spec)`. What
    `non_local_block` says of precision and derivatives holds here.

    Source: arXiv 1711.07971, Eq. 6 and Sec. 4.1.
    """

    def __init__(
        self,
        channels: int,
        inner_channels: int | None = None,
        ndim: int = 3,
        *,
        init: str = "he",
        identity: bool = True,
        momentum: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **spec_fields: Any,
    ) -> None:
        super().__init__()
        if not isinstance(identity, bool):
            raise TypeError(f"identity must be a bool; received {identity!r}")
        if not isinstance(momentum, (int, float)) or isinstance(momentum, bool):
            raise TypeError(f"momentum must be a float in [0, 1]; received {momentum!r}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be a float in [0, 1]; received {momentum!r}")
        self.spec = NonLocalSpec(channels, inner_channels, ndim, **spec_fields)  # type: ignore[arg-type]
        self.init, self.identity = init, identity
        shapes = weight_shapes(self.spec)
        for name in ("theta", "phi", "g", "f", "out"):
            if f"{name}.weight" in shapes:
                bias = shapes.get(f"{name}.bias")
                layer = _Weights(shapes[f"{name}.weight"], bias, device, dtype)
                self.add_module(name, layer)
        if self.spec.batch_norm:
            self.bn = BatchNorm(channels, self.spec.eps, momentum, identity, device, dtype)
        self._names = [name for name in shapes if not name.startswith("bn.")]
        self.reset_parameters()

    @classmethod
    def from_spec(cls, spec: NonLocalSpec, **options: Any) -> NonLocalBlock:
        """The block of this spec; options are init, identity, momentum, device and dtype."""
        block = cls(**spec.arguments(), **options)
        block.spec = spec  # equal, and it knows its dialect
        return block

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the initial weights anew, with torch's generator, and reset the statistics."""
        for name in self._names:
            constant = starts_constant(self.spec, name, self.identity)
            weight = self.get_parameter(name)
            if constant is None:
                nn.init.normal_(weight, 0.0, init_std(self.spec, name, self.init))
            else:
                nn.init.constant_(weight, constant)
        if self.spec.batch_norm:
            self.bn.reset_parameters()

    def export_weights(self) -> dict[str, np.ndarray]:
        """The weights by name as NumPy arrays, as `nlcore.weight_shapes` has them."""
        return {name: array(tensor) for name, tensor in self.state_dict().items()}

    def import_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace every weight by the array or tensor of its name, in the module's dtype.

        Raises
        ------
        TypeError, ValueError
            See `nlcore.check_weights`; `load_state_dict` raises torch's own errors.
        """
        check_weights(self.spec, weights)
        self.load_state_dict({name: tensor(value) for name, value in weights.items()})

    def named_weights(self) -> dict[str, Tensor]:
        """The weights but for batch normalization's, as the block computes with them."""
        # by attribute, so that parametrizations and functional_call reach them
        parts = (name.split(".") for name in self._names)
        return {f"{part}.{kind}": getattr(getattr(self, part), kind) for part, kind in parts}

    def forward(self, x: Tensor) -> Tensor:
        """z (B, C, *positions) from x (B, C, *positions)."""
        weights = self.named_weights()
        check_tensor(self.spec, x)
        check_dtypes(x, weights)
        # no name holds the response, so that in inference it is freed before z is made
        if self.spec.batch_norm:
            return x + self.bn(response(self.spec, weights, x))
        return x + response(self.spec, weights, x)

    def extra_repr(self) -> str:
        shown = repr(self.spec).removeprefix("NonLocalSpec(").removesuffix(")")
        return f"{shown}, init={self.init!r}, identity={self.identity}"


class BatchNorm(_BatchNorm):
    """Batch normalization over (B, C, *positions), for any number of position axes.

    torch's own, so that its tools find it, but with no count of batches in the state dict, a
    weight that `reset_parameters` starts at 0 in a block that starts as the identity, and a
    defined value where a batch holds one value per channel.
    """

    def __init__(
        self,
        channels: int,
        eps: float,
        momentum: float,
        identity: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        self.identity = identity
        super().__init__(channels, eps, momentum, device=device, dtype=dtype)
        # not None: SyncBatchNorm, to which this may be converted, counts on
        self.register_buffer("num_batches_tracked", self.num_batches_tracked, persistent=False)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.identity:
            nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, *positions), normalized."""
        if self.training and x.numel() == x.shape[1]:
            return batch_norm(x, self.weight, self.bias, None, None, self.eps)
        return super().forward(x)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do: the block has checked x."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # after a conversion to SyncBatchNorm, state dicts hold the count
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        # past torch's, which adds the count to a plain dict and then finds it unexpected
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args)


class _Weights(nn.Module):
    """A weight and perhaps a bias under one name; the block multiplies by them stacked."""

    def __init__(
        self,
        weight: tuple[int, ...],
        bias: tuple[int, ...] | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(weight, device=device, dtype=dtype))
        if bias is not None:
            self.bias = nn.Parameter(torch.empty(bias, device=device, dtype=dtype))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={tuple(p.shape)}" for name, p in self.named_parameters())
