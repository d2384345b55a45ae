"""Where a position of a detector's block looks, drawn on the photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nlcore_torch.attention_weights import top_responses
from nlcore_torch.insertion import NAME, non_local_blocks
from nlcore_torch.modes import evaluating

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Weights below it are not drawn.
FAINT = 0.001


def block_input(network: Any, module: str, pixels: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """The input of a block of the backbone, and the image as the backbone gets it.

    Parameters
    ----------
    network : nn.Module
        See `build_detector`.
    module : str
        Name of the module that the block follows, such as "backbone.body.layer3.4".
    pixels : (H, W, 3) uint8

    Returns
    -------
    x : (1, C, h', w')
        Input of the block.
    seen : (H', W', 3) float
        The image resized and padded as torchvision does, from 0 to 1.

    Raises
    ------
    ValueError
        The network has no such block in its backbone.
    """
    known = [name.removesuffix(f".{NAME}") for name in non_local_blocks(network)]
    known = [name for name in known if name.startswith("backbone.")]
    if module not in known:
        raise ValueError(f"module must be one of {known}, which blocks follow; received {module!r}")
    found: list[Tensor] = []
    block = network.get_submodule(f"{module}.{NAME}")
    handle = block.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    device = next(network.parameters()).device
    image = torch.from_numpy(pixels).to(device).permute(2, 0, 1).contiguous().float() / 255
    try:
        with torch.no_grad(), evaluating(network):
            images, _ = network.transform([image])
            network.backbone(images.tensors)
    finally:
        handle.remove()
    mean, std = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (network.transform.image_mean, network.transform.image_std)
    )
    seen = (images.tensors[0] * std + mean).clamp(0, 1).permute(1, 2, 0)
    height, width = images.image_sizes[0]
    seen[height:], seen[:, width:] = 0, 0  # the padding
    return found[0], seen.cpu().numpy()


def draw_looking(
    network: Any, module: str, pixels: np.ndarray, point: tuple[float, float], k: int = 20
) -> Figure:
    """Draw the largest weights w_ij of the position i under a point of an image.

    Parameters
    ----------
    network, module, pixels
        See `block_input`.
    point : (x, y)
        In pixels of the image.
    k : int
        Largest number of weights. Those below `FAINT` are not drawn.

    Returns
    -------
    matplotlib.figure.Figure
        See `nlcore.video.figure.draw_responses`.

    Raises
    ------
    ValueError
        The network has no such block in its backbone.

    Examples
    --------
    >>> from nlcore.coco import DetectorSpec, blocks_at
    >>> from nlcore_torch.detection import build_detector
    >>> spec = DetectorSpec(width=4, non_local=blocks_at("backbone"), min_size=(64,))
    >>> pixels = np.zeros((64, 96, 3), np.uint8)
    >>> figure = draw_looking(build_detector(spec), "backbone.body.layer3.4", pixels, (48.0, 32.0))
    >>> len(figure.axes)  # the image, and the scale of the weights
    2
    """
    from nlcore.video.figure import draw_responses

    x, seen = block_input(network, module, pixels)
    block = non_local_blocks(network)[f"{module}.{NAME}"]
    sizes = tuple(x.shape[2:])  # (h', w')
    scale = _scale(network, pixels)
    query = tuple(
        min(int(at * scale * n / side), n - 1)
        for at, n, side in zip(reversed(point), sizes, seen.shape[:2], strict=True)
    )
    pool = block.spec.pool
    count = int(np.prod([n // window for n, window in zip(sizes, pool, strict=True)]))
    top = top_responses(block, x, query, min(k, count))
    weights = top.weights[0].cpu().numpy()  # (k,)
    shown = weights >= FAINT
    weights, places = weights[shown], top.positions[0].cpu().numpy()[shown]  # (k', 2)
    what = f"position {query} in {sizes} at {module}, {block.spec.pairwise}"
    return draw_responses(
        seen[None],
        (1, *sizes),
        (0, *query),
        weights,
        np.concatenate([np.zeros((len(places), 1), places.dtype), places], 1),
        window=(1, *pool),
        title=f"weights of at least {FAINT}: {len(places)}, of {what}",
        columns=1,
    )


def _scale(network: Any, pixels: np.ndarray) -> float:
    """By what torchvision multiplies the sides of an image in testing."""
    sides = sorted(pixels.shape[:2])
    transform = network.transform
    return min(transform.min_size[-1] / sides[0], transform.max_size / sides[1])
