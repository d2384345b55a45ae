"""NonLocalBlock: the block as a module whose parameters have nlcore's names and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlcore import NonLocalSpec, check_weights, weight_shapes
from nlcore.weights import check_options, init_std, starts_constant
from nlcore_torch.arrays import array, tensor
from nlcore_torch.batch_norm import BatchNorm
from nlcore_torch.operation.arguments import check_dtypes, check_tensor
from nlcore_torch.operation.stages import response


class NonLocalBlock(nn.Module):
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j), for 1, 2 or 3 axes.

    Takes and returns (B, C, *positions), positions being (T,), (H, W) or (T, H, W). In training
    mode batch normalization uses the batch's statistics and updates the running ones (the
    variance unbiased; a batch of one value per channel has none and updates nothing).

    Parameters
    ----------
    channels, inner_channels, ndim, pairwise, normalization, scale, subsample, subsample_at, extent
    window, bias, pair_bias, batch_norm, eps
        The fields of `nlcore.NonLocalSpec`, which defines each.
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
        On construction, for a wrong field. When called, for an x that does not fit the spec, or,
        except under autocast, is not of the parameters' dtype.

    Notes
    -----
    The state dict has exactly the names and shapes of `nlcore.weight_shapes(spec)`. Precision and
    derivatives are as in `non_local_block`.

    Source: arXiv 1711.07971, Eq. 6 and Sec. 4.1.

    Examples
    --------
    >>> block = NonLocalBlock(64, pairwise="dot_product", subsample=(1, 2, 2))
    >>> x = torch.randn(2, 64, 4, 14, 14)  # (B, C, T, H, W)
    >>> torch.equal(block(x), x)  # a new block is the identity
    True
    """

    def __init__(
        self,
        channels: int,
        inner_channels: int | None = None,
        ndim: int = 3,
        *,
        pairwise: str = "embedded_gaussian",
        normalization: str | None = None,
        scale: float = 1.0,
        subsample: Sequence[int] | None = None,
        subsample_at: str = "embedding",
        extent: str = "all",
        window: int | None = None,
        bias: bool = False,
        pair_bias: bool = False,
        batch_norm: bool = True,
        eps: float = 1e-5,
        init: str = "he",
        identity: bool = True,
        momentum: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_options(init, identity, momentum)
        fields: dict[str, Any] = {
            "inner_channels": inner_channels,
            "ndim": ndim,
            "pairwise": pairwise,
            "normalization": normalization,
            "scale": scale,
            "subsample": subsample,
            "subsample_at": subsample_at,
            "extent": extent,
            "window": window,
            "bias": bias,
            "pair_bias": pair_bias,
            "batch_norm": batch_norm,
            "eps": eps,
        }
        self.spec = NonLocalSpec(channels, **fields)
        self.init, self.identity = init, identity
        shapes = weight_shapes(self.spec)
        self._names = [name for name in shapes if not name.startswith("bn.")]
        for name in dict.fromkeys(name.partition(".")[0] for name in self._names):
            layer = _Weights(shapes[f"{name}.weight"], shapes.get(f"{name}.bias"), device, dtype)
            self.add_module(name, layer)
        if batch_norm:
            self.bn = BatchNorm(
                self.spec.channels, self.spec.eps, momentum, identity, device, dtype
            )
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
        dialect = "" if self.spec.dialect is None else f"dialect={self.spec.dialect!r}, "
        shown = dialect + self.spec.fields_text()
        return f"{shown}, init={self.init!r}, identity={self.identity}"


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
