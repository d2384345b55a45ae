"""NonLocalSpec: the choices that determine what a non-local block computes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

import numpy as np

#: Version of the specification, which is independent of the version of the package.
SPEC_VERSION = "1.2"

PAIRWISE = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
NORMALIZATIONS = ("sum", "count")
EXTENTS = ("all", "space", "time")
SUBSAMPLE_AT = ("embedding", "input")
#: NumPy names of the dtypes in which a block can be computed.
FLOATS = ("float16", "bfloat16", "float32", "float64")

#: Names of the position axes, by ndim.
AXES = {1: ("T",), 2: ("H", "W"), 3: ("T", "H", "W")}


@dataclass(frozen=True, repr=False)
class NonLocalSpec:
    """The non-local block z_i = BN(W_z y_i + b) + x_i with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j).

    x has shape (B, C, *positions), where positions is (T,), (H, W) or (T, H, W) for ndim 1, 2 or 3.

    Parameters
    ----------
    channels : int
        C, the number of channels of x.
    inner_channels : int, optional
        D, the number of channels of theta, phi and g. Default max(C // 2, 1).
    ndim : {1, 2, 3}
        Number of position axes.
    pairwise : {"gaussian", "embedded_gaussian", "dot_product", "concatenation"}
        The pairwise function f. In this order: exp(s x_i.x_j), exp(s theta_i.phi_j),
        s theta_i.phi_j and ReLU(w_f.[theta_i, phi_j] + b_f).
    normalization : {"sum", "count"}, optional
        C(x): the sum of f over the positions j ("sum"), or the number of positions j ("count").
        Default "sum" for the two Gaussians and "count" for the others.
    scale : float
        s in f. Must be 1.0 for concatenation.
    subsample : None or one int per axis
        Max-pooling of the positions j. Each int is the window and also the stride. Positions that
        do not fill a window are dropped.
    subsample_at : {"embedding", "input"}
        "embedding" pools phi(x) and g(x). "input" pools x before phi and g.
    extent : {"all", "space", "time"}
        The positions j that a position i sees: all positions, the positions of its own frame, or
        its own pixel in every frame.
    window : None or int
        Number of frames per temporal window. A position i sees the frames of its own window only.
        Must divide T.
    bias : bool
        Whether theta, phi, g and W_z have biases.
    pair_bias : bool
        Whether the concatenation has a bias b_f inside its ReLU.
    batch_norm : bool
        Whether batch normalization follows W_z.
    eps : float
        Epsilon of batch normalization, > 0.

    Attributes
    ----------
    dialect : str or None
        Name of the dialect if `nlcore.dialect` made the spec, and None if not. Fields that
        override the dialect's follow the name, as in "caffe2 with scale". It is not an argument,
        and == ignores it.

    Raises
    ------
    TypeError, ValueError
        A field is wrong. The message gives its name, the expected and the received value.

    Notes
    -----
    Source: Wang, Girshick, Gupta, He 2018, "Non-local Neural Networks", arXiv 1711.07971, Sec. 3.

    Examples
    --------
    >>> NonLocalSpec(64, pairwise="dot_product", subsample=(1, 2, 2)).normalization
    'count'
    """

    channels: int
    inner_channels: int = None  # type: ignore[assignment]  # resolved on construction
    ndim: int = 3
    pairwise: str = "embedded_gaussian"
    normalization: str = None  # type: ignore[assignment]  # resolved on construction
    scale: float = 1.0
    subsample: tuple[int, ...] | None = None
    subsample_at: str = "embedding"
    extent: str = "all"
    window: int | None = None
    bias: bool = False
    pair_bias: bool = False
    batch_norm: bool = True
    eps: float = 1e-5
    dialect: str | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        def set_(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)  # the dataclass is frozen

        set_("channels", positive_int("channels", self.channels))
        if self.inner_channels is None:
            set_("inner_channels", max(self.channels // 2, 1))
        set_("inner_channels", positive_int("inner_channels", self.inner_channels))
        set_("ndim", positive_int("ndim", self.ndim))
        if self.ndim not in AXES:
            raise ValueError(f"ndim must be 1, 2 or 3; received {self.ndim}")
        _one_of("pairwise", self.pairwise, PAIRWISE)
        if self.normalization is None:
            set_("normalization", "sum" if "gaussian" in self.pairwise else "count")
        _one_of("normalization", self.normalization, NORMALIZATIONS)
        set_("scale", _finite("scale", self.scale))
        if self.pairwise == "concatenation" and self.scale != 1.0:
            raise ValueError(f"scale must be 1.0 for concatenation; received {self.scale}")
        _one_of("subsample_at", self.subsample_at, SUBSAMPLE_AT)
        _one_of("extent", self.extent, EXTENTS)
        for name in ("bias", "pair_bias", "batch_norm"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool; received {getattr(self, name)!r}")
        if self.pair_bias and self.pairwise != "concatenation":
            raise ValueError(
                "pair_bias must be False unless pairwise='concatenation'; "
                f"received pairwise={self.pairwise!r}"
            )
        set_("eps", _finite("eps", self.eps))
        if self.eps <= 0:
            raise ValueError(f"eps must be > 0; received {self.eps}")
        if self.subsample is not None:
            set_("subsample", self._checked_subsample())
        if self.window is not None:
            set_("window", positive_int("window", self.window))
        self._check_extent()

    def _checked_subsample(self) -> tuple[int, ...]:
        expected = f"None or {self.ndim} int(s), one per axis {AXES[self.ndim]}"
        try:
            if isinstance(self.subsample, str):
                raise TypeError
            entries = tuple(self.subsample)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(f"subsample must be {expected}; received {self.subsample!r}") from None
        sizes = tuple(positive_int("subsample", n) for n in entries)
        if len(sizes) != self.ndim:
            raise ValueError(f"subsample must be {expected}; received {self.subsample!r}")
        return sizes

    def _check_extent(self) -> None:
        if self.extent != "all" and self.ndim != 3:
            raise ValueError(f"ndim must be 3 for extent={self.extent!r}; received {self.ndim}")
        if self.window is not None and (self.ndim != 3 or self.extent != "all"):
            raise ValueError(
                "window must be None unless ndim=3 and extent='all'; "
                f"received window={self.window} with ndim={self.ndim}, extent={self.extent!r}"
            )
        temporal, spatial = self.pool[0], self.pool[1:]
        if self.extent == "time" and any(n != 1 for n in spatial):
            raise ValueError(
                "the spatial subsample entries must be 1 for extent='time', because a pooled grid "
                f"does not contain each position's own pixel; received subsample={self.subsample}"
            )
        if (self.extent == "space" or self.window is not None) and temporal != 1:
            raise ValueError(
                "the temporal subsample entry must be 1 for extent='space' and for a window; "
                f"received subsample={self.subsample}"
            )

    @property
    def pool(self) -> tuple[int, ...]:
        """The pooling window per axis, 1 for an axis that is not pooled."""
        return self.subsample or (1,) * self.ndim

    @property
    def embedded(self) -> bool:
        """Whether theta and phi are learned. For the Gaussian they are the identity."""
        return self.pairwise != "gaussian"

    def arguments(self) -> dict[str, Any]:
        """The constructor arguments that make an equal spec: every field except dialect."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def fields_text(self) -> str:
        """ "channels=64, inner_channels=32, ...": the sizes, and the fields that are not default.

        A dialect's text lists every field, because its defaults differ from those of the class.
        """
        default = {f.name: f.default for f in fields(self)}
        always = ("channels", "inner_channels")
        return ", ".join(
            f"{name}={value!r}"
            for name, value in self.arguments().items()
            if self.dialect is not None or name in always or value != default[name]
        )

    def __repr__(self) -> str:
        if self.dialect is not None:
            return f"dialect({self.dialect.split()[0]!r}, {self.fields_text()})"
        return f"NonLocalSpec({self.fields_text()})"


def positive_int(name: str, value: Any) -> int:
    """Return value as an int > 0, or raise a TypeError or ValueError that contains name."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = value.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be an int > 0; received {value!r}") from None
    if number <= 0:
        raise ValueError(f"{name} must be an int > 0; received {value!r}")
    return int(number)


def _finite(name: str, value: Any) -> float:
    if not isinstance(value, (Real, np.floating, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a finite float; received {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite float; received {value!r}")
    return number


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}; received {value!r}")
