"""The dialects: which rules each source has."""

from __future__ import annotations

from nlcore.video.sampling import cropping, scaling, timing
from nlcore.video.sampling.clip_dialect import ClipDialect
from nlcore.video.sampling.pixels import Values

#: One mean and one deviation for all channels, of bytes.
_CAFFE2 = Values(mean=(114.75,) * 3, std=(57.375,) * 3, by_inverse=True)
#: The same numbers, but for their rounding, of bytes / 255.
_SLOWFAST = Values(mean=(0.45,) * 3, std=(0.225,) * 3, divisor=255.0, resized_as="floats")
_IMAGENET = Values(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))

_DIALECTS = (
    ClipDialect(
        name="paper",
        source="arXiv 1711.07971, Sec. 4.1 and 5.1; facebookresearch/video-nonlocal-net where the "
        "paper does not say",
        timing=timing.Strided(),
        short_side=scaling.each_integer,
        rounding=scaling.short_exact,
        training_crop=cropping.anywhere,
        three_crops=cropping.multiples_of_the_half,
        centre=cropping.floored_centre,
        whole=cropping.whole,
        values=_CAFFE2,
    ),
    ClipDialect(
        name="caffe2",
        source="facebookresearch/video-nonlocal-net@c253ed5, caffe2_customized_ops/video",
        timing=timing.Strided(),
        short_side=scaling.each_integer,
        rounding=scaling.truncated,
        training_crop=cropping.anywhere,
        three_crops=cropping.multiples_of_the_half,
        centre=cropping.floored_centre,
        whole=cropping.whole_up_to_a_ratio,
        values=_CAFFE2,
        missing=1,
    ),
    ClipDialect(
        name="slowfast",
        source="facebookresearch/SlowFast@287ec00, slowfast/datasets: kinetics.py",
        timing=timing.Spread(),
        short_side=scaling.rounded,
        rounding=scaling.floored_unless_equal,
        training_crop=cropping.before_the_last,
        three_crops=cropping.ends_and_ceiled_middle,
        centre=cropping.ceiled_centre,
        whole=cropping.whole,
        values=_SLOWFAST,
    ),
    ClipDialect(
        name="slowfast_charades",
        source="facebookresearch/SlowFast@287ec00, slowfast/datasets: charades.py, with the "
        "projects' configs/Charades",
        timing=timing.StridedAndClamped(),
        short_side=scaling.inverse_rounded,
        rounding=scaling.floored_unless_equal,
        training_crop=cropping.before_the_last,
        three_crops=cropping.ends_and_ceiled_middle,
        centre=cropping.ceiled_centre,
        whole=cropping.whole,
        values=_SLOWFAST,
    ),
    ClipDialect(
        name="mmaction2",
        source="open-mmlab/mmaction2@4d6c934, configs/recognition/i3d and datasets/transforms",
        timing=timing.StridedToTheEnd(),
        short_side=scaling.fixed,
        rounding=scaling.half_up,
        training_crop=cropping.two_scales_at_five_places,
        three_crops=cropping.ends_then_middle,
        centre=cropping.floored_centre,
        whole=cropping.whole,
        values=_IMAGENET,
        input_side=True,
    ),
    ClipDialect(
        name="pytorchvideo",
        source="facebookresearch/pytorchvideo@f3142bb, with the transforms of pytorchvideo_trainer",
        timing=timing.SpreadInSeconds(),
        short_side=scaling.each_integer,
        rounding=scaling.floored,
        training_crop=cropping.anywhere,
        three_crops=cropping.ends_and_ceiled_middle,
        centre=cropping.rounded_centre,
        whole=cropping.whole,
        values=_SLOWFAST,
    ),
)

CLIP_DIALECTS: dict[str, ClipDialect] = {d.name: d for d in _DIALECTS}


def dialect(name: str) -> ClipDialect:
    """How a source samples clips and views.

    Parameters
    ----------
    name : str
        One of `CLIP_DIALECTS`: "paper", "caffe2", "slowfast", "slowfast_charades", "mmaction2",
        "pytorchvideo".

    Raises
    ------
    ValueError
        The dialect is unknown.

    Examples
    --------
    >>> caffe2 = dialect("caffe2")
    >>> [int(caffe2.test_clip(300, 30, 32, 2, view, views=10)[0]) for view in (0, 1, 9)]
    [0, 30, 270]
    >>> caffe2.test_view(242, 320, short_side=256, crop=256, index=2, crops=3)
    View(size=(255, 338), top=0, left=82, height=256, width=256, output=(256, 256), flip=False)
    """
    if name not in CLIP_DIALECTS:
        raise ValueError(f"dialect must be one of {tuple(CLIP_DIALECTS)}; received {name!r}")
    return CLIP_DIALECTS[name]
