"""Other projects' video networks, built by their own code from a `NetworkSpec`.

pip install --no-deps slowfast==1.0 pytorchvideo==0.1.5

Both import classes of detection models that these networks do not use. If detectron2 or torchvision
is not installed, an empty class takes the place.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

from torch import nn

from nlcore.video import NetworkSpec
from nlcore.video.network_layers import DEPTHS, SLOW_ONLY, Sizes

#: Modules of detection that the two import, and the class that they take from each.
DETECTION = {"detectron2.layers": "ROIAlign", "torchvision.ops": "RoIAlign"}
#: nlcore's pairwise functions -> the two projects' names.
INSTANTIATIONS = {"embedded_gaussian": "softmax", "dot_product": "dot_product"}


def slowfast_network(spec: NetworkSpec, positions: Sizes, crop: int = 224) -> nn.Module:
    """SlowFast's ResNet of the spec. It takes a list with one tensor, ``[clips]``.

    Parameters
    ----------
    spec : NetworkSpec
        `nlcore.checkpoints.differences` from "slowfast" are not built.
    positions : (T, H, W)
        Of the clips in the test.
    crop : int
        Side of the clips in training, which gives the side of the head's windows.
    """
    with _importing():
        from slowfast.config.defaults import get_cfg
        from slowfast.models.video_model_builder import ResNetModel

    slow = spec.inflation != "none" and spec.inflated == SLOW_ONLY
    kind = "slowonly" if slow else "c2d" if spec.inflation == "none" else "i3d"
    pooled = spec.temporal_strides[2] > 1
    cfg = get_cfg()
    cfg.MODEL.ARCH = kind if pooled or slow else f"{kind}_nopool"
    cfg.MODEL.NUM_CLASSES, cfg.MODEL.DROPOUT_RATE = spec.classes, spec.dropout
    cfg.RESNET.DEPTH, cfg.RESNET.WIDTH_PER_GROUP = spec.depth, spec.width
    cfg.RESNET.STRIDE_1X1 = spec.stride_at == "1x1"
    cfg.RESNET.NUM_BLOCK_TEMP_KERNEL = [[count] for count in DEPTHS[spec.depth]]
    cfg.DATA.INPUT_CHANNEL_NUM, cfg.DATA.NUM_FRAMES = [3], positions[0]
    cfg.DATA.CROP_SIZE = crop
    indices = [[int(r.name.split(".")[1]) for r in s if r.non_local] for s in spec.stages]
    cfg.NONLOCAL.LOCATION = [[inside] for inside in indices]
    for block in spec.blocks.values():
        cfg.NONLOCAL.INSTANTIATION = INSTANTIATIONS[block.pairwise]
        cfg.NONLOCAL.POOL = [[list(block.pool)]] * 4
    return ResNetModel(cfg)


def pytorchvideo_network(spec: NetworkSpec, positions: Sizes, crop: int = 224) -> nn.Module:
    """pytorchvideo's `create_resnet` of the spec. Its blocks are elements of `res_blocks`.

    `differences` from "pytorchvideo" are not built. See `slowfast_network` for the parameters.
    """
    with _importing():
        from pytorchvideo.layers.nonlocal_net import create_nonlocal
        from pytorchvideo.models.resnet import create_resnet

    conv1, pool1 = spec.stem
    pooled = spec.temporal_strides[2] > 1
    frames = positions[0]
    for stride in spec.temporal_strides:
        frames //= stride
    network = create_resnet(
        model_depth=spec.depth,
        model_num_class=spec.classes,
        dropout_rate=spec.dropout,
        stem_dim_out=spec.width,
        stem_conv_kernel_size=conv1.kernel,
        stem_conv_stride=conv1.stride,
        stem_pool_kernel_size=pool1.kernel,
        stem_pool_stride=pool1.stride,
        stage1_pool=nn.MaxPool3d if pooled else None,
        stage_conv_a_kernel_size=[[r.convs[0].kernel for r in stage] for stage in spec.stages],
        head_pool_kernel_size=(frames, crop // 32, crop // 32),
        head_activation=nn.Softmax if spec.head == "windows" else None,
    )
    stages = [block for block in network.blocks if hasattr(block, "res_blocks")]
    for stage, residuals in zip(stages, spec.stages, strict=True):
        for index, residual in reversed(list(enumerate(residuals))):
            block = residual.non_local
            if block is not None:
                added = create_nonlocal(
                    dim_in=block.channels,
                    dim_inner=block.inner_channels,
                    pool_size=block.subsample,
                    instantiation=INSTANTIATIONS[block.pairwise],
                )
                stage.res_blocks.insert(index + 1, added)
    return network


@contextmanager
def _importing() -> Iterator[None]:
    """A context in which modules of detection that are not installed can be imported.

    The two projects and what they import use functions that PyTorch deprecates.
    """
    stubs: dict[str, ModuleType] = {}
    for name, used in DETECTION.items():
        package = name.partition(".")[0]
        if package not in sys.modules and find_spec(package) is None:
            stubs |= {package: ModuleType(package), name: ModuleType(name)}
            setattr(stubs[name], used, type(used, (nn.Module,), {}))
    sys.modules.update(stubs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for name in stubs:
            del sys.modules[name]
