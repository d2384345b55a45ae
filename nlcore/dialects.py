"""Dialects: the spec of the block that each of eight published sources computes.

The fields of each dialect were read in the source that it names. Where a source makes a choice
optional (batch normalization, subsampling), the dialect has the source's own default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nlcore.spec import PAIRWISE, NonLocalSpec, positive_int

#: The pooling window that the sources use, by ndim.
POOLS = {1: (2,), 2: (2, 2), 3: (1, 2, 2)}

_GAUSSIAN_AND_DOT = ("embedded_gaussian", "dot_product")


@dataclass(frozen=True)
class Dialect:
    """The fields of `NonLocalSpec` that describe one source's block.

    Attributes
    ----------
    source : str
        Where the fields were read.
    fields : dict
        Fields that differ from the defaults of `NonLocalSpec`.
    beside_batch_norm : dict
        Fields that replace those of `fields` if the block has batch normalization.
    pairwise, ndims : tuple
        Values of pairwise and ndim that the source supports. The first ndim is the default.
    pools : bool
        Whether the source subsamples by default, with the window in `POOLS`.
    inner_channels : callable
        D as a function of C.
    scale : callable
        The scale of the embedded Gaussian as a function of C and D. It is 1 for every other
        pairwise function.
    """

    source: str
    fields: dict[str, Any]
    beside_batch_norm: dict[str, Any] = field(default_factory=dict)
    pairwise: tuple[str, ...] = PAIRWISE
    ndims: tuple[int, ...] = (3, 2, 1)
    pools: bool = False
    inner_channels: Callable[[int], int] = lambda channels: max(channels // 2, 1)
    scale: Callable[[int, int], float] = lambda channels, inner: 1.0


def _eighth_rounded_to_8(channels: int) -> int:
    """C/8 rounded to the nearest multiple of 8, but at least 8 and at least 90% of C/8."""
    wanted = channels / 8
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


DIALECTS: dict[str, Dialect] = {
    "paper": Dialect(
        source="arXiv 1711.07971, prose of Sec. 3.3 and Figure 2: pooling after phi and g",
        fields={},
        pools=True,
    ),
    "paper_formula": Dialect(
        source="arXiv 1711.07971, formula in Sec. 3.3: g of the pooled x",
        fields={"subsample_at": "input"},
        pools=True,
    ),
    "caffe2": Dialect(
        source="facebookresearch/video-nonlocal-net, nonlocal_helper.py; SlowFast and "
        "pytorchvideo compute the same",
        fields={"subsample_at": "input", "bias": True},
        pairwise=_GAUSSIAN_AND_DOT,
        pools=True,
        scale=lambda channels, inner: inner**-0.5,
    ),
    "mmcv": Dialect(
        source="mmcv 2.2.0, cnn/bricks/non_local.py; W_z has no bias beside batch normalization",
        fields={"bias": True, "batch_norm": False},
        beside_batch_norm={"bias": "embeddings"},
        scale=lambda channels, inner: inner**-0.5,
    ),
    "alexhex7": Dialect(
        source="AlexHex7/Non-local_pytorch, non_local_*.py",
        fields={"bias": True},
        pools=True,
    ),
    "tea1528": Dialect(
        source="tea1528/Non-Local-NN-Pytorch, models/non_local.py",
        fields={"bias": True, "pair_bias": True},
    ),
    "timm": Dialect(
        source="timm, layers/non_local_attn.py",
        fields={"bias": True},
        pairwise=("embedded_gaussian",),
        ndims=(2,),
        inner_channels=_eighth_rounded_to_8,
        scale=lambda channels, inner: channels**-0.5,
    ),
    "gcnet": Dialect(
        source="xvjiarui/GCNet, mmdet/models/plugins/non_local.py: divides by D**-0.5",
        fields={"bias": True, "batch_norm": False},
        pairwise=_GAUSSIAN_AND_DOT,
        ndims=(2,),
        scale=lambda channels, inner: inner**0.5,
    ),
}


def dialect(
    name: str, channels: int, pairwise: str = "embedded_gaussian", **overrides: Any
) -> NonLocalSpec:
    """The spec of the block that a published source computes.

    Parameters
    ----------
    name : str
        One of `DIALECTS`: "paper", "paper_formula", "caffe2", "mmcv", "alexhex7", "tea1528",
        "timm", "gcnet".
    channels : int
        C, the number of channels of x.
    pairwise : str
        One of the pairwise functions that the source supports.
    **overrides
        Fields of `NonLocalSpec` that replace those of the dialect.

    Raises
    ------
    TypeError, ValueError
        The dialect is unknown, the source does not support pairwise or ndim, or a field is wrong.

    Examples
    --------
    >>> dialect("gcnet", 64).scale == 32**0.5
    True
    """
    if not isinstance(name, str) or name not in DIALECTS:
        raise ValueError(f"dialect must be one of {tuple(DIALECTS)}; received {name!r}")
    known = DIALECTS[name]
    if pairwise not in known.pairwise:
        raise ValueError(
            f"pairwise must be one of {known.pairwise} for dialect {name!r}; received {pairwise!r}"
        )
    ndim = overrides.get("ndim", known.ndims[0])
    if ndim not in known.ndims:
        raise ValueError(
            f"ndim must be one of {known.ndims} for dialect {name!r}; received {ndim!r}"
        )
    fields: dict[str, Any] = {"ndim": ndim, **known.fields}
    if overrides.get("batch_norm", fields.get("batch_norm", True)):
        fields |= known.beside_batch_norm
    if pairwise != "concatenation":
        fields.pop("pair_bias", None)
    if known.pools:
        fields["subsample"] = POOLS[ndim]
    channels = positive_int("channels", channels)
    inner = overrides.pop("inner_channels", None)
    inner = known.inner_channels(channels) if inner is None else inner
    fields["inner_channels"] = positive_int("inner_channels", inner)
    if pairwise == "embedded_gaussian":
        fields["scale"] = known.scale(channels, fields["inner_channels"])
    spec = NonLocalSpec(channels, pairwise=pairwise, **{**fields, **overrides})
    own = NonLocalSpec(channels, pairwise=pairwise, **fields)
    changed = [k for k in overrides if getattr(spec, k) != getattr(own, k)]
    label = f"{name} with {', '.join(changed)}" if changed else name
    # dialect is not a constructor argument, so only this function can set the name
    object.__setattr__(spec, "dialect", label)
    return spec
