"""torch's fused attention, which stores no array of all pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.backends.cuda import (
    SDPAParams,
    can_use_efficient_attention,
    can_use_flash_attention,
    flash_sdp_enabled,
)

from nlcore_torch.operation.recording import records, without_tracer_warnings


def takes(theta: Tensor, phi: Tensor, g: Tensor) -> bool:
    """Whether a fused kernel, which stores no N x M array, supports these shapes and this dtype."""
    if theta.device.type != "cuda":
        with without_tracer_warnings():  # the widths are those of the weights at every size
            same = theta.shape[-1] in (g.shape[-1],)
        return same and (records() or flash_sdp_enabled())
    params = SDPAParams(_head(theta), _head(phi), _head(g), None, 0.0, False, False)
    return can_use_flash_attention(params) or can_use_efficient_attention(params)


def fused(theta: Tensor, phi: Tensor, g: Tensor, scale: float) -> Tensor:
    """y with w = softmax_j(s t), by torch's fused attention."""
    # The kernels take the maximum of t before they multiply it by s, so s must not be negative.
    query = _head(theta if scale >= 0 else -theta)  # (B, 1, N, D)
    y = F.scaled_dot_product_attention(query, _head(phi), _head(g), scale=abs(scale)).squeeze(1)
    # If all logits of a row are NaN or -inf, a kernel can treat it as masked and return y_i = 0.
    # So y_i is set to NaN if theta_i is not finite, a phi_j is NaN, or no phi_j is finite.
    lost = ~theta.isfinite().all(-1, keepdim=True)  # (B, N, 1)
    finite = phi.isfinite().all(-1)  # (B, M)
    lost = lost | (phi.isnan().flatten(1).any(1) | ~finite.any(1)).view(-1, 1, 1)
    return y.masked_fill(lost, torch.nan)  # (B, N, V)


def _head(rows: Tensor) -> Tensor:
    """(B, P, E) -> (B, 1, P, E) with a contiguous last axis, as the fused kernels require."""
    return (rows if rows.stride(-1) == 1 else rows.contiguous()).unsqueeze(1)
