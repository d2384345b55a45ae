"""The paper's networks as data: ResNets for clips, inflated or not, with non-local blocks.

The layers are conv1, pool1, res2, pool2, res3, res4, res5, pooling over positions, and fc.
Axes are (T, H, W). Source: arXiv 1711.07971, Table 1, Sec. 4 and 4.1. Details that the paper does
not give are those of the authors' code, facebookresearch/video-nonlocal-net ("C2"). Fields that
differ from the paper describe the networks that other projects published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nlcore.dialects import dialect
from nlcore.spec import NonLocalSpec, positive_int
from nlcore.video.network_layers import (
    DEPTHS,
    HEADS,
    I3D,
    INFLATIONS,
    Conv,
    Pool,
    Residual,
    Sizes,
    placement,
    residual_names,
    windows,
)

STAGES = ("res2", "res3", "res4", "res5")


@dataclass(frozen=True)
class NetworkSpec:
    """C2D, I3D, or either with non-local blocks, for clips (B, 3, T, H, W).

    Parameters
    ----------
    depth : {50, 101, 152}
        ResNet-50, ResNet-101 or ResNet-152.
    inflation : {"none", "3x1x1", "3x3x3"}
        "none" is C2D. The others are I3D, whose inflated residual blocks have a first kernel of
        3x1x1 or a second kernel of 3x3x3.
    non_local : tuple of str
        Names of the residual blocks that are followed by a non-local block, such as "res4.4". See
        `placement`.
    block : mapping
        Fields of the `NonLocalSpec` of all non-local blocks, except channels. They replace those
        of the dialect. Under the name of a stage, such as "res3", fields of its blocks only.
    dialect : str
        Dialect of the non-local blocks, a key of `nlcore.DIALECTS`. It gives each block its scale.
    classes : int
        Number of outputs of fc.
    dropout : float
        Probability that training drops a feature before fc.
    inflated : four tuples of 0 and 1
        Which residual blocks of res2, res3, res4 and res5 an I3D inflates. A pattern is repeated
        over its stage. By default, as in C2, they are all of res2, the even ones of res3 and res4,
        and the odd ones of res5.
    conv1_frames : int, optional
        Temporal kernel of conv1. By default 1 in C2D and 5 in I3D.
    temporal_strides : three ints
        Temporal strides of conv1, pool1 and pool2. They are (2, 2, 2) in the paper's Table 1,
        (1, 1, 2) in C2 for clips that are sampled more sparsely, and (1, 1, 1) in SlowOnly.
    pool_frames : two ints
        Temporal kernels of pool1 and pool2, (3, 3) in the paper's Table 1. A pool with temporal
        stride 1 has temporal kernel 1.
    stem_padding : {1, 0}
        Spatial padding of pool1. For a clip of 224 x 224 pixels, 1 results in the paper's 56 x 56,
        and 0 in C2's 55 x 55.
    stride_at : {"3x3", "1x1"}
        The convolution with the spatial stride in the first residual block of a stage: the second
        (C2, torchvision) or the first (the original ResNets, keras.applications).
    head : {"mean", "windows", "window_logits"}
        "mean": fc of the mean over all positions. The others: fc of the mean over all frames and
        each window of `head_window` x `head_window` pixels of res5, with stride 1. "windows" (C2,
        SlowFast) averages the windows' scores, "window_logits" (pytorchvideo) their logits. With
        one window, all three are equal.
    head_window : int
        Side of a window. It is the side of the training crops divided by 32.
    width : int
        Number of outputs of conv1.

    Raises
    ------
    ValueError, TypeError
        A field is wrong. The message gives its name, the expected and the received value.

    Examples
    --------
    >>> net = NetworkSpec(non_local=placement(50, 5))
    >>> [block.name for stage in net.stages for block in stage if block.non_local]
    ['res3.1', 'res3.3', 'res4.1', 'res4.3', 'res4.5']
    """

    depth: int = 50
    inflation: str = "none"
    non_local: tuple[str, ...] = ()
    block: Mapping[str, Any] = field(default_factory=dict, hash=False)
    dialect: str = "paper"
    classes: int = 400
    dropout: float = 0.5
    inflated: tuple[tuple[int, ...], ...] = I3D
    conv1_frames: int | None = None
    temporal_strides: Sizes = (2, 2, 2)
    pool_frames: tuple[int, int] = (3, 3)
    stem_padding: int = 1
    stride_at: str = "3x3"
    head: str = "mean"
    head_window: int = 7
    width: int = 64

    def __post_init__(self) -> None:
        for name, values in {
            "depth": tuple(DEPTHS),
            "inflation": tuple(INFLATIONS),
            "stem_padding": (0, 1),
            "stride_at": ("3x3", "1x1"),
            "head": HEADS,
        }.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {values}; received {getattr(self, name)}")
        for name in ("classes", "width", "head_window"):
            positive_int(name, getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); received {self.dropout}")
        self._check_time()
        self._check_non_local()
        given = {name: _tuples(value) for name, value in self.block.items()}
        object.__setattr__(self, "block", given)  # lists have become tuples
        for number, stage in enumerate(STAGES):
            self._non_local(stage, 4 * self.width * 2**number)  # raises for a wrong field

    def _check_time(self) -> None:
        """Check the fields of the temporal axis, and replace lists by tuples."""
        for name, of in {
            "temporal_strides": "conv1, pool1, pool2",
            "pool_frames": "pool1, pool2",
        }.items():
            numbers = tuple(positive_int(name, n) for n in getattr(self, name))
            if len(numbers) != len(of.split()):
                raise ValueError(f"{name} must be one int for each of {of}; received {numbers}")
            object.__setattr__(self, name, numbers)
        if (
            self.conv1_frames is not None
            and positive_int("conv1_frames", self.conv1_frames) % 2 == 0
        ):
            raise ValueError(f"conv1_frames must be odd; received {self.conv1_frames}")
        patterns = _tuples(self.inflated)
        flags = [isinstance(p, tuple) and bool(p) and {*p} <= {0, 1} for p in patterns]
        if len(patterns) != len(STAGES) or not all(flags):
            raise ValueError(
                f"inflated must be one tuple of 0 and 1 for each of {STAGES}; received {patterns}"
            )
        object.__setattr__(self, "inflated", patterns)

    def _check_non_local(self) -> None:
        if isinstance(self.non_local, str):
            raise TypeError(f"non_local must be a tuple of names; received {self.non_local!r}")
        object.__setattr__(self, "non_local", tuple(self.non_local))
        names = residual_names(self.depth)
        unknown = [name for name in self.non_local if name not in names]
        if unknown or len(set(self.non_local)) != len(self.non_local):
            raise ValueError(
                f"non_local must name residual blocks from {names[0]} to {names[-1]}, each once; "
                f"received {self.non_local}"
            )

    @property
    def stem(self) -> tuple[Conv, Pool]:
        """conv1 and pool1."""
        first, second, _ = self.temporal_strides
        frames = self.conv1_frames or (1 if self.inflation == "none" else 5)
        conv = Conv("conv1", "bn1", 3, self.width, (frames, 7, 7), (first, 2, 2))
        over = 1 if second == 1 else self.pool_frames[0]
        space = self.stem_padding
        return conv, Pool("pool1", (over, 3, 3), (second, 2, 2), ((over - 1) // 2, space, space))

    @property
    def pool2(self) -> Pool:
        """pool2, which pools over time between res2 and res3."""
        stride = self.temporal_strides[2]
        over = 1 if stride == 1 else self.pool_frames[1]
        return Pool("pool2", (over, 1, 1), (stride, 1, 1), ((over - 1) // 2, 0, 0))

    @property
    def stages(self) -> tuple[tuple[Residual, ...], ...]:
        """The residual blocks of res2, res3, res4 and res5."""
        inputs, stages = self.width, []
        for number, count in enumerate(DEPTHS[self.depth]):
            inner = self.width * 2**number
            stage = []
            for index in range(count):
                stage.append(self._residual(f"res{number + 2}.{index}", inputs, inner))
                inputs = 4 * inner
            stages.append(tuple(stage))
        return tuple(stages)

    def _residual(self, name: str, inputs: int, inner: int) -> Residual:
        stage, index = name.split(".")
        stride = (1, 2, 2) if index == "0" and stage != "res2" else (1, 1, 1)
        pattern = self.inflated[STAGES.index(stage)]
        inflates = pattern[int(index) % len(pattern)]
        first, second = INFLATIONS[self.inflation if inflates else "none"]
        at = {self.stride_at: stride}  # the convolution with the stride

        def conv(number: int, kernel: Sizes, inputs: int, outputs: int, stride: Sizes) -> Conv:
            part = (f"{name}.conv{number}", f"{name}.bn{number}")
            return Conv(*part, inputs, outputs, kernel, stride)

        outputs = 4 * inner
        shortcut = Conv(
            f"{name}.shortcut", f"{name}.shortcut_bn", inputs, outputs, (1, 1, 1), stride
        )
        return Residual(
            name,
            (
                conv(1, first, inputs, inner, at.get("1x1", (1, 1, 1))),
                conv(2, second, inner, inner, at.get("3x3", (1, 1, 1))),
                conv(3, (1, 1, 1), inner, outputs, (1, 1, 1)),
            ),
            shortcut if index == "0" else None,
            self._non_local(stage, outputs) if name in self.non_local else None,
        )

    def _non_local(self, stage: str, channels: int) -> NonLocalSpec:
        """The spec of the non-local blocks of a stage."""
        fields = {name: value for name, value in self.block.items() if name not in STAGES}
        fields |= {"ndim": 3, **self.block.get(stage, {})}
        return dialect(self.dialect, channels, **fields)

    @property
    def blocks(self) -> dict[str, NonLocalSpec]:
        """The specs of the non-local blocks by name ("res4.4.non_local"), in order."""
        return {
            f"{residual.name}.non_local": residual.non_local
            for stage in self.stages
            for residual in stage
            if residual.non_local is not None
        }

    @property
    def features(self) -> int:
        """Number of inputs of fc."""
        return 32 * self.width

    def windows(self, height: int, width: int) -> Sizes:
        """Number of windows of the head over (T, H, W), for `height` x `width` pixels of res5.

        Raises
        ------
        ValueError
            A window does not fit.
        """
        if self.head == "mean":
            return (1, 1, 1)
        return (1, *windows(self.head_window, height, width))

    def with_blocks(self, count: int) -> NetworkSpec:
        """This network with the paper's 0, 1, 5 or 10 non-local blocks."""
        return replace(self, non_local=placement(self.depth, count))


def _tuples(value: Any) -> Any:
    """The value with tuples in the place of lists, also in mappings."""
    if isinstance(value, Mapping):
        return {name: _tuples(entry) for name, entry in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value
