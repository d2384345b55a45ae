"""The paper's networks as data: ResNets for clips, inflated or not, with non-local blocks.

The layers are conv1, pool1, res2, pool2, res3, res4, res5, the mean over all positions, and fc.
Axes are (T, H, W). Source: arXiv 1711.07971, Table 1, Sec. 4 and 4.1. Details that the paper does
not give are those of the authors' code, facebookresearch/video-nonlocal-net ("C2").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nlcore.spec import NonLocalSpec, positive_int

Sizes = tuple[int, int, int]

BN_EPS = 1e-5
#: Default fields of a network's non-local blocks: the positions j are subsampled in space.
BLOCK: Mapping[str, Any] = {"subsample": (1, 2, 2)}
#: Standard deviation of the initial weights of fc (C2).
FC_STD = 0.01

#: Number of residual blocks in res2, res3, res4 and res5, by depth.
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
#: The first two kernels of an inflated residual block. "none" is C2D.
INFLATIONS: dict[str, tuple[Sizes, Sizes]] = {
    "none": ((1, 1, 1), (1, 3, 3)),
    "3x1x1": ((3, 1, 1), (1, 3, 3)),
    "3x3x3": ((1, 1, 1), (3, 3, 3)),
}


@dataclass(frozen=True)
class Conv:
    """A convolution with weights (outputs, inputs, *kernel), without bias, padded by kernel // 2.

    Batch normalization follows it, with weights under the name `norm`.
    """

    name: str
    norm: str
    inputs: int
    outputs: int
    kernel: Sizes
    stride: Sizes = (1, 1, 1)

    @property
    def padding(self) -> Sizes:
        t, h, w = self.kernel
        return (t // 2, h // 2, w // 2)


@dataclass(frozen=True)
class Pool:
    """Max-pooling, padded with values that are never the maximum."""

    name: str
    kernel: Sizes
    stride: Sizes
    padding: Sizes


@dataclass(frozen=True)
class Residual:
    """ReLU(convs(x) + shortcut(x)) with a ReLU between convolutions, then the non-local block."""

    name: str
    convs: tuple[Conv, Conv, Conv]
    shortcut: Conv | None
    non_local: NonLocalSpec | None


@dataclass(frozen=True)
class NetworkSpec:
    """C2D, I3D, or either with non-local blocks, for clips (B, 3, T, H, W).

    Parameters
    ----------
    depth : {50, 101}
        ResNet-50 or ResNet-101.
    inflation : {"none", "3x1x1", "3x3x3"}
        "none" is C2D. The others are I3D. Its conv1 has a 5x7x7 kernel, and every second residual
        block has a first kernel of 3x1x1 or a second kernel of 3x3x3. As in C2, these blocks are
        0, 1 and 2 of res2, 0 and 2 of res3, the even ones of res4, and 1 of res5.
    non_local : tuple of str
        Names of the residual blocks that are followed by a non-local block, such as "res4.4". See
        `placement`.
    block : mapping
        Fields of the `NonLocalSpec` of all non-local blocks, except channels. They replace those
        of `BLOCK`.
    classes : int
        Number of outputs of fc.
    dropout : float
        Probability that training drops a feature before fc.
    temporal_strides : three ints
        Temporal strides of conv1, pool1 and pool2. They are (2, 2, 2) in the paper's Table 1, and
        (1, 1, 2) in C2 for clips that are sampled more sparsely.
    stem_padding : {1, 0}
        Spatial padding of pool1. For a clip of 224 x 224 pixels, 1 results in the paper's 56 x 56,
        and 0 in C2's 55 x 55.
    stride_at : {"3x3", "1x1"}
        The convolution with the spatial stride in the first residual block of a stage: the second
        (C2, torchvision) or the first (the original ResNets, keras.applications).
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
    classes: int = 400
    dropout: float = 0.5
    temporal_strides: Sizes = (2, 2, 2)
    stem_padding: int = 1
    stride_at: str = "3x3"
    width: int = 64

    def __post_init__(self) -> None:
        for name, values in {
            "depth": tuple(DEPTHS),
            "inflation": tuple(INFLATIONS),
            "stem_padding": (0, 1),
            "stride_at": ("3x3", "1x1"),
        }.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {values}; received {getattr(self, name)}")
        for name in ("classes", "width"):
            positive_int(name, getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); received {self.dropout}")
        strides = tuple(positive_int("temporal_strides", n) for n in self.temporal_strides)
        if len(strides) != 3:
            raise ValueError(
                f"temporal_strides must be three, of conv1, pool1 and pool2; received {strides}"
            )
        if isinstance(self.non_local, str):
            raise TypeError(f"non_local must be a tuple of names; received {self.non_local!r}")
        object.__setattr__(self, "temporal_strides", strides)
        object.__setattr__(self, "non_local", tuple(self.non_local))
        names = residual_names(self.depth)
        unknown = [name for name in self.non_local if name not in names]
        if unknown or len(set(self.non_local)) != len(self.non_local):
            raise ValueError(
                f"non_local must name residual blocks from {names[0]} to {names[-1]}, each once; "
                f"received {self.non_local}"
            )
        fields = {**BLOCK, **self.block}
        block = NonLocalSpec(4 * self.width, **fields)  # raises for a wrong field
        given = {name: getattr(block, name) for name in fields}  # lists have become tuples
        object.__setattr__(self, "block", given)

    @property
    def stem(self) -> tuple[Conv, Pool]:
        """conv1 and pool1."""
        first, second, _ = self.temporal_strides
        frames = 1 if self.inflation == "none" else 5
        conv = Conv("conv1", "bn1", 3, self.width, (frames, 7, 7), (first, 2, 2))
        over = 1 if second == 1 else 3  # frames per window of pool1
        space = self.stem_padding
        return conv, Pool("pool1", (over, 3, 3), (second, 2, 2), (over // 2, space, space))

    @property
    def pool2(self) -> Pool:
        """pool2, which pools over time between res2 and res3."""
        stride = self.temporal_strides[2]
        over = 1 if stride == 1 else 3
        return Pool("pool2", (over, 1, 1), (stride, 1, 1), (over // 2, 0, 0))

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
        stage, index = name.removeprefix("res").split(".")
        stride = (1, 2, 2) if index == "0" and stage != "2" else (1, 1, 1)
        first, second = INFLATIONS[self.inflation if _inflates(int(stage), int(index)) else "none"]
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
            NonLocalSpec(outputs, **self.block) if name in self.non_local else None,
        )

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

    def with_blocks(self, count: int) -> NetworkSpec:
        """This network with the paper's 0, 1, 5 or 10 non-local blocks."""
        return replace(self, non_local=placement(self.depth, count))


def residual_names(depth: int) -> list[str]:
    """The names of all residual blocks: ["res2.0", "res2.1", ...]."""
    return [f"res{n + 2}.{k}" for n, count in enumerate(DEPTHS[depth]) for k in range(count)]


def placement(depth: int, count: int) -> tuple[str, ...]:
    """Residual blocks that the paper's 0, 1, 5 or 10 non-local blocks follow (Table 2c).

    One block is right before the last residual block of res4. Five blocks follow 1 and 3 of res3
    and 1, 3 and 5 of res4. In ResNet-101 (C2), the latter are 6, 13 and 20. Ten blocks follow every
    residual block of res3 and res4. The paper describes them for ResNet-50 only.

    Raises
    ------
    ValueError
        The depth is unknown, or there is no placement of `count` blocks for it.

    Examples
    --------
    >>> placement(50, 1)
    ('res4.4',)
    """
    if depth not in DEPTHS:
        raise ValueError(f"depth must be one of {tuple(DEPTHS)}; received {depth}")
    last = DEPTHS[depth][2] - 1
    fourth = (1, 3, 5) if depth == 50 else (6, 13, 20)
    known = {
        0: (),
        1: (f"res4.{last - 1}",),
        5: ("res3.1", "res3.3", *(f"res4.{k}" for k in fourth)),
    }
    if depth == 50:
        known[10] = tuple(n for n in residual_names(50) if n.startswith(("res3", "res4")))
    if count not in known:
        raise ValueError(
            f"count must be one of {tuple(known)} for ResNet-{depth}; received {count}"
        )
    return known[count]


def _inflates(stage: int, index: int) -> bool:
    """Whether I3D inflates this residual block, as in C2."""
    return {2: True, 5: index == 1}.get(stage, index % 2 == 0)
