"""NonLocalBlock: the block as a module, whose parameters have nlcore's names and shapes."""

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
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j), as a module.

    The input and the output have shape (B, C, *positions), where positions is (T,), (H, W) or
    (T, H, W). In training mode, batch normalization uses the statistics of the batch and updates
    the running statistics, with the unbiased variance. A batch with one value per channel has no
    unbiased variance, so it updates nothing.

    Parameters
    ----------
    channels, inner_channels, ndim, pairwise, normalization, scale, subsample, subsample_at, extent
    window, bias, pair_bias, batch_norm, eps
        Fields of `nlcore.NonLocalSpec`, where each is described.
    init : {"he", "normal"}
        Random weights are normal, with standard deviation sqrt(2 / fan_in) ("he") or 0.01
        ("normal").
    identity : bool
        Whether the new block is the identity, z = x. The weight of batch normalization is then 0.
        Without batch normalization, W_z is 0.
    momentum : float
        Weight of the new batch in the running statistics, as in `torch.nn.BatchNorm3d`.
    device, dtype
        Device and dtype of the parameters.

    Attributes
    ----------
    spec : NonLocalSpec

    Raises
    ------
    TypeError, ValueError
        On construction, if an argument is wrong. On a call, if x is not valid for the spec, or if
        its dtype is not that of the parameters, except under autocast.

    Notes
    -----
    The state dict has exactly the names and shapes of `nlcore.weight_shapes(spec)`. See
    `non_local_block` for the precision, and `non_local_operation` for second derivatives.

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
        """The block of this spec. The options are init, identity, momentum, device and dtype."""
        block = cls(**spec.arguments(), **options)
        block.spec = spec  # equal to the spec that it replaces, but with the name of its dialect
        return block

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialize the weights again, with torch's random generator, and reset the statistics."""
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
        """The weights as NumPy arrays, by the names of `nlcore.weight_shapes`."""
        return {name: array(tensor) for name, tensor in self.state_dict().items()}

    def import_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace every weight by the array or tensor of the same name.

        The values are converted to the dtype of the module.

        Raises
        ------
        TypeError, ValueError
            See `nlcore.check_weights`.
        """
        check_weights(self.spec, weights)
        self.load_state_dict({name: tensor(value) for name, value in weights.items()})

    def named_weights(self) -> dict[str, Tensor]:
        """The weights with which the block computes, without those of batch normalization."""
        # They are read as attributes, so that parametrizations and functional_call take effect.
        parts = (name.split(".") for name in self._names)
        return {f"{part}.{kind}": getattr(getattr(self, part), kind) for part, kind in parts}

    def forward(self, x: Tensor) -> Tensor:
        """z (B, C, *positions) from x (B, C, *positions)."""
        weights = self.named_weights()
        check_tensor(self.spec, x)
        check_dtypes(x, weights)
        # The response has no name here, so that in inference it is freed before z is computed.
        if self.spec.batch_norm:
            return x + self.bn(response(self.spec, weights, x))
        return x + response(self.spec, weights, x)

    def extra_repr(self) -> str:
        dialect = "" if self.spec.dialect is None else f"dialect={self.spec.dialect!r}, "
        shown = dialect + self.spec.fields_text()
        return f"{shown}, init={self.init!r}, identity={self.identity}"


class _Weights(nn.Module):
    """A weight and an optional bias. There is no forward, because the block stacks the weights."""

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
