"""NonLocalBlock: the block as a module, whose parameters have nlcore's names and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from nlcore import NonLocalSpec, check_weights, weight_shapes
from nlcore.weights import check_options, has_bias
from nlcore_torch.arrays import array, tensor
from nlcore_torch.batch_norm import BATCH_NORMS
from nlcore_torch.operation.arguments import (
    check_dtypes,
    check_memory_budget,
    check_tensor,
    is_empty,
    nothing,
)
from nlcore_torch.operation.embeddings import embeddings, embeddings_by_parts
from nlcore_torch.operation.extent import unfold
from nlcore_torch.operation.stages import attend, output
from nlcore_torch.parts import (
    calls_are_watched,
    is_unchanged,
    new_part,
    reset_part,
    weights_of,
)


class NonLocalBlock(nn.Module):
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j), as a module.

    The input and the output have shape (B, C, *positions), where positions is (T,), (H, W) or
    (T, H, W). In training mode, batch normalization uses the statistics of the batch and updates
    the running statistics, with the unbiased variance. A batch with one value per channel has no
    unbiased variance, so it updates nothing.

    Parameters
    ----------
    channels, inner_channels, ndim, value_channels, pairwise, normalization, scale, subsample
    subsample_at, extent, window, bias, pair_bias, batch_norm, eps
        Fields of `nlcore.NonLocalSpec`, where each is described.
    init : {"he", "he_fan_out", "normal"}
        Random weights are normal, with standard deviation sqrt(2 / fan_in) ("he"),
        sqrt(2 / fan_out) ("he_fan_out") or 0.01 ("normal").
    identity : bool
        Whether the new block is the identity, z = x. The weight of batch normalization is then 0.
        Without batch normalization, W_z is 0.
    momentum : float
        Weight of the new batch in the running statistics, as in `torch.nn.BatchNorm3d`.
    memory_budget : int, optional
        Bytes of weights w_ij that a Gaussian may store for its gradients, see `non_local_block`.
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

    out: nn.Module

    def __init__(
        self,
        channels: int,
        inner_channels: int | None = None,
        ndim: int = 3,
        *,
        value_channels: int | None = None,
        pairwise: str = "embedded_gaussian",
        normalization: str | None = None,
        scale: float = 1.0,
        subsample: Sequence[int] | None = None,
        subsample_at: str = "embedding",
        extent: str = "all",
        window: int | None = None,
        bias: bool | str = False,
        pair_bias: bool = False,
        batch_norm: bool = True,
        eps: float = 1e-5,
        init: str = "he",
        identity: bool = True,
        momentum: float = 0.1,
        memory_budget: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_options(init, identity, momentum)
        check_memory_budget(memory_budget)
        fields: dict[str, Any] = {
            "inner_channels": inner_channels,
            "value_channels": value_channels,
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
        self.init, self.identity, self.memory_budget = init, identity, memory_budget
        names = (name.partition(".") for name in weight_shapes(self.spec))
        self._parts = tuple(dict.fromkeys(part for part, _, _ in names if part != "bn"))
        initialize = partial(reset_part, self.spec, init, identity)
        for name in self._parts:
            self.add_module(name, new_part(self.spec, name, initialize, device, dtype))
        if batch_norm:
            self.bn = BATCH_NORMS[ndim](
                self.spec.channels, self.spec.eps, momentum, identity, device, dtype
            )
        self.reset_parameters()

    @classmethod
    def from_spec(cls, spec: NonLocalSpec, **options: Any) -> NonLocalBlock:
        """The block of this spec. The options are the arguments from `init` on."""
        block = cls(**spec.arguments(), **options)
        block.spec = spec  # equal to the spec that it replaces, but with the name of its dialect
        return block

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialize the weights again, with torch's random generator, and reset the statistics."""
        for name in self._parts:
            reset_part(self.spec, self.init, self.identity, name, self.get_submodule(name))
        if self.spec.batch_norm:
            self.bn.reset_parameters()
            if self.identity:  # again, because bn may have been converted to SyncBatchNorm
                nn.init.zeros_(self.bn.weight)

    def export_weights(self) -> dict[str, np.ndarray]:
        """The weights as NumPy arrays, by the names of `nlcore.weight_shapes`.

        They are those with which the block computes, also if its parts have a parametrization, are
        pruned, or were replaced.

        Raises
        ------
        TypeError
            f was replaced by a module of another class, or another part by one that is not linear.
        ValueError
            A part has a bias other than 0, and the spec has none.
        """
        found: dict[str, Tensor] = {}
        for name in self._parts:
            weights = weights_of(name, self.get_submodule(name), self._inputs(name))
            found |= {f"{name}.{kind}": weight for kind, weight in weights.items()}
        if self.spec.batch_norm:
            for kind in ("weight", "bias", "running_mean", "running_var"):
                found[f"bn.{kind}"] = getattr(self.bn, kind)
        shapes = weight_shapes(self.spec)
        extra = [name for name, value in found.items() if name not in shapes and value.any()]
        if extra:
            raise ValueError(f"the parts must have the weights of {self.spec}; received {extra}")
        return {name: np.array(array(found[name])) for name in shapes}

    def import_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace every weight by the array or tensor of the same name.

        The values are converted to the dtype of the module.

        Raises
        ------
        TypeError, ValueError
            See `nlcore.check_weights`.
        RuntimeError
            A part has other parameters than its weight and bias, such as those of an adapter.
        """
        check_weights(self.spec, weights)
        self.load_state_dict({name: tensor(value) for name, value in weights.items()})

    def forward(self, x: Tensor) -> Tensor:
        """z (B, C, *positions) from x (B, C, *positions). An empty batch, B = 0, is returned."""
        if isinstance(x, fx.Proxy):  # torch.fx: the block is one node of the graph
            path = x.tracer.path_of_module(self)
            if not path:
                raise ValueError("torch.fx must trace a model that contains the block, not itself")
            return x.tracer.create_proxy("call_module", path, (x,), {})
        check_tensor(self.spec, x)
        if is_empty(x):
            return self._nothing(x)
        # The response has no name here, so that in inference it is freed before z is computed.
        if self.spec.batch_norm:
            return x + self.bn(self._response(x))
        return x + self._response(x)

    def embeddings(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """theta, phi and g, see `nlcore_torch.operation.embeddings.embeddings`."""
        parts: dict[str, Any] = {n: getattr(self, n) for n in self._parts if n != "out"}
        if not calls_are_watched() and all(map(self._is_unchanged, parts)):
            return embeddings(self.spec, self._weights_beside(x, *parts), x)
        return embeddings_by_parts(self.spec, parts, x)

    def _response(self, x: Tensor) -> Tensor:
        """W_z y + b (B, C, *positions)."""
        spec, budget, (theta, phi, g) = self.spec, self.memory_budget, self.embeddings(x)
        if not calls_are_watched() and self._is_unchanged("out"):
            return output(spec, self._weights_beside(x, "out"), x, theta, phi, g, budget)
        rows = self.out(unfold(spec, x, attend(spec, theta, phi, g, budget)))  # (B, N, C)
        # contiguous: for a channels-last batch of one, torch 2.13 computes wrong gradients of bn
        return rows.mT.contiguous().unflatten(2, x.shape[2:])

    def _is_unchanged(self, name: str) -> bool:
        return is_unchanged(getattr(self, name), has_bias(self.spec, name))

    def _nothing(self, x: Tensor) -> Tensor:
        """z for an empty batch x. Changed parts are called, so that wrappers take part."""
        terms = list(self.bn.parameters()) if self.spec.batch_norm else []
        for name in self._parts:
            part: Any = getattr(self, name)
            if self._is_unchanged(name):
                terms += part.parameters()
            else:
                rows = x.new_zeros(1, 1, self._inputs(name))
                called = part(rows, rows) if name == "f" else part(rows)
                terms += called if isinstance(called, tuple) else [called]
        return nothing(x, terms)

    def _inputs(self, name: str) -> int:
        """The width of a part's input."""
        widths = {"f": self.spec.inner_channels, "out": self.spec.value_channels}
        return widths.get(name, self.spec.channels)

    def _weights_beside(self, x: Tensor, *names: str) -> dict[str, Tensor]:
        """The weights of these parts by name, whose dtypes must fit x."""
        # They are read as attributes, so that functional_call takes effect.
        weights = {
            f"{name}.{kind}": getattr(part, kind)
            for name, part in ((name, getattr(self, name)) for name in names)
            for kind in ("weight", "bias")
            if getattr(part, kind) is not None
        }
        check_dtypes(x, weights)
        return weights

    def extra_repr(self) -> str:
        dialect = "" if self.spec.dialect is None else f"dialect={self.spec.dialect!r}, "
        shown = dialect + self.spec.fields_text()
        given = self.memory_budget
        budget = "" if given is None else f", memory_budget={given}"
        return f"{shown}, init={self.init!r}, identity={self.identity}{budget}"
