"""Published video networks: the spec of each file or configuration, and its project."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, NamedTuple

from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import SLOW_ONLY, placement


class Published(NamedTuple):
    """The network of a published file, and the project whose names and shapes it has.

    Attributes
    ----------
    origin : str
        The project: "mmaction2", "slowfast", "pytorchvideo" or "caffe2".
    spec : NetworkSpec
    """

    origin: str
    spec: NetworkSpec


def published(name: str) -> Published:
    """The network of a published file or configuration.

    Parameters
    ----------
    name : str
        A name in `PUBLISHED`. A suffix such as ".pkl", a date with a hash, and "_IN_pretrain",
        "_I3D_pretrain" or "_IN1K" with what follows are ignored.

    Returns
    -------
    Published
        The origin for `convert_network`, and the `NetworkSpec`.

    Raises
    ------
    ValueError
        The name is unknown, or it is a network with two pathways.

    Examples
    --------
    >>> published("i3d_nonlocal_32x2_IN_pretrain_400k.pkl").origin
    'caffe2'
    """
    short = re.sub(r"(_IN_pretrain|_I3D_pretrain|_IN1K|_\d{8}-[0-9a-f]{8}|\.[a-z]+$).*", "", name)
    if short in PUBLISHED:
        return PUBLISHED[short]
    if re.match("slowfast_", short, re.IGNORECASE):
        raise ValueError(
            f"{name!r} has two pathways: expected a network with one, which a NetworkSpec describes"
        )
    alike = get_close_matches(short, PUBLISHED) or list(PUBLISHED)
    raise ValueError(f"name must be a published network, such as {alike}; received {name!r}")


#: Temporal strides of C2D and I3D for clips of 8 frames and of 32, and without pooling over time.
_SHORT, _LONG, _NONE = (1, 1, 2), (2, 2, 2), (1, 1, 1)
_C2D: dict[str, Any] = {"inflation": "none"}
_I3D: dict[str, Any] = {"inflation": "3x1x1"}
_SLOW = {**_I3D, "inflated": SLOW_ONLY, "conv1_frames": 1, "temporal_strides": _NONE}
_C2D_OF_C2 = {**_C2D, "stem_padding": 0, "temporal_strides": _SHORT}
_FIVE: dict[str, Any] = {"non_local": placement(50, 5)}
_DOT: dict[str, Any] = {"pairwise": "dot_product"}


def _slowfast(**fields: Any) -> NetworkSpec:
    common = {"dialect": "caffe2", "pool_frames": (1, 2), "head": "windows"}
    return NetworkSpec(**{**common, "temporal_strides": _SHORT, **fields})


def _mmaction2(block: dict[str, Any] | None = None, **fields: Any) -> NetworkSpec:
    if block is not None:
        fields["block"] = {"subsample": (1, 2, 2), "batch_norm": True, **block}
    common = {"dialect": "mmcv", "pool_frames": (1, 2), "temporal_strides": _LONG}
    return NetworkSpec(**{**common, **fields})


def _caffe2(strides: tuple[int, int, int], **fields: Any) -> NetworkSpec:
    common = {"dialect": "caffe2", "pool_frames": (2, 2), "stem_padding": 0, "head": "windows"}
    return NetworkSpec(**{**common, "temporal_strides": strides, **fields})


#: SlowFast: configs/Kinetics and MODEL_ZOO.md. Its ResNet-101 has the blocks of ResNet-50.
_SLOWFAST = {
    "C2D_8x8_R50": _slowfast(**_C2D),
    "C2D_NOPOOL_8x8_R50": _slowfast(**_C2D, temporal_strides=_NONE),
    "C2D_NLN_8x8_R50": _slowfast(**_C2D, **_FIVE),
    "I3D_8x8_R50": _slowfast(**_I3D),
    "I3D_8x8_R101": _slowfast(**_I3D, depth=101),
    "I3D_NLN_8x8_R50": _slowfast(**_I3D, **_FIVE),
    "I3D_NLN_8x8_R101": _slowfast(**_I3D, **_FIVE, depth=101),
    "SLOW_4x16_R50": _slowfast(**_SLOW),
    "SLOW_8x8_R50": _slowfast(**_SLOW),
    "SLOW_NLN_4x16_R50": _slowfast(**_SLOW, **_FIVE, block=_DOT),
    "SLOW_NLN_8x8_R50": _slowfast(**_SLOW, **_FIVE, block=_DOT),
    "SLOWONLY_4x16_R50": _slowfast(**_SLOW),
    "SLOWONLY_8x8_R50": _slowfast(**_SLOW),
}
#: pytorchvideo: models/hub/resnet.py.
_PYTORCHVIDEO = {
    "c2d_r50": _slowfast(**_C2D, head="window_logits"),
    "i3d_r50": _slowfast(**_I3D, head="window_logits"),
    "slow_r50": _slowfast(**_SLOW, head="window_logits"),
}
#: mmaction2: configs/recognition. Its embedded Gaussian has a scale in SlowOnly only.
_I3D_R50 = "i3d_imagenet-pretrained-r50"
_32X2 = "32x2x1-100e_kinetics400-rgb"
_UNSCALED = {"pairwise": "embedded_gaussian", "scale": 1.0}
_SLOW_NL = {**_SLOW, "non_local": ("res3.0", "res3.2", "res4.0", "res4.2", "res4.4")}
_MMACTION2 = {
    "c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb": _mmaction2(**_C2D_OF_C2),
    "c2d_r50-in1k-pre_8xb32-16x4x1-100e_kinetics400-rgb": _mmaction2(**_C2D_OF_C2),
    f"{_I3D_R50}_8xb8-{_32X2}": _mmaction2(**_I3D),
    f"{_I3D_R50}_8xb8-dense-{_32X2}": _mmaction2(**_I3D),
    f"{_I3D_R50}-heavy_8xb8-{_32X2}": _mmaction2(
        **_I3D, inflated=((1,),) * 4, temporal_strides=_SHORT
    ),
    f"{_I3D_R50}-nl-dot-product_8xb8-{_32X2}": _mmaction2(_DOT, **_I3D, **_FIVE),
    f"{_I3D_R50}-nl-embedded-gaussian_8xb8-{_32X2}": _mmaction2(_UNSCALED, **_I3D, **_FIVE),
    f"{_I3D_R50}-nl-gaussian_8xb8-{_32X2}": _mmaction2({"pairwise": "gaussian"}, **_I3D, **_FIVE),
    "slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb": _mmaction2(**_SLOW),
    "slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb": _mmaction2(**_SLOW),
    "slowonly_r101_8xb16-8x8x1-196e_kinetics400-rgb": _mmaction2(**_SLOW, depth=101),
    **{
        f"slowonly_{name}-steplr-150e_kinetics400-rgb": _mmaction2(**_SLOW)
        for name in (
            "imagenet-pretrained-r50_8xb16-4x16x1",
            "imagenet-pretrained-r50_8xb16-8x8x1",
        )
    },
    **{
        f"slowonly_r50-in1k-pre-nl-embedded-gaussian_8xb16-{clip}-steplr-150e_kinetics400-rgb": (
            _mmaction2({"pairwise": "embedded_gaussian"}, **_SLOW_NL)
        )
        for clip in ("4x16x1", "8x8x1")
    },
}
#: C2: README.md. 32x4 and 128x1 have affine layers, and blocks without batch normalization that see
#: windows of 4 frames in res3.
_WINDOWS = {"batch_norm": False, "res3": {"window": 4}}
_CAFFE2 = {
    "c2d_baseline_8x8": _caffe2(_SHORT, **_C2D),
    "c2d_nonlocal_8x8": _caffe2(_SHORT, **_C2D, **_FIVE),
    "i3d_baseline_8x8": _caffe2(_SHORT, **_I3D),
    "i3d_nonlocal_8x8": _caffe2(_SHORT, **_I3D, **_FIVE),
    "c2d_baseline_32x2": _caffe2(_LONG, **_C2D),
    "c2d_nonlocal_32x2": _caffe2(_LONG, **_C2D, **_FIVE),
    "i3d_baseline_32x2": _caffe2(_LONG, **_I3D),
    "i3d_nonlocal_32x2": _caffe2(_LONG, **_I3D, **_FIVE),
    "i3d_baseline_32x4": _caffe2(_SHORT, **_I3D),
    "i3d_nonlocal_32x4": _caffe2(_SHORT, **_I3D, **_FIVE, block=_WINDOWS),
    "i3d_baseline_128x1": _caffe2(_LONG, **_I3D),
    "i3d_nonlocal_128x1": _caffe2(_LONG, **_I3D, **_FIVE, block=_WINDOWS),
}
#: Name of a published file or configuration -> its network and origin, see `published`.
PUBLISHED: dict[str, Published] = {
    name: Published(origin, spec)
    for origin, specs in {
        "slowfast": _SLOWFAST,
        "pytorchvideo": _PYTORCHVIDEO,
        "mmaction2": _MMACTION2,
        "caffe2": _CAFFE2,
    }.items()
    for name, spec in specs.items()
}
