"""CocoRecipe: how a detector is trained, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nlcore.coco.detector_spec import DetectorSpec
from nlcore.spec import positive_int
from nlcore.video.recipes.learning_rates import steps_rate, warmed_up

#: Values of the fields with a choice.
CHOICES = {
    "batch_norm": ("trained", "fixed_statistics", "affine"),
    "initial": ("random", "imagenet", "coco"),
}
#: Kinds of weights, see `kind`.
KINDS = ("bias", "scale", "weight")


@dataclass(frozen=True, repr=False, kw_only=True)
class CocoRecipe:
    """A detector, its images, the schedule and the optimizer, SGD with momentum.

    The paper states no schedule for COCO, so no recipe is the paper's own.

    Parameters
    ----------
    name : str
        Name of the preset, and the fields that differ from it.
    detector : DetectorSpec
    flip : bool
        Whether training images are mirrored with probability 0.5.
    batch : int
        Images per iteration.
    images_per_device : int
        Images over which trained batch normalization computes its statistics, and over whose boxes
        a loss is a mean.
    iterations, epochs : int or None
        Length of the training. One of them is None. An epoch leaves out the images at its end that
        do not fill a batch.
    base_rate : float
        The learning rate that `factors` multiply.
    steps, factors : tuples
        Positions at which the rate changes, in iterations or in epochs as the length is, and its
        factor before the first step and from each step on.
    warmup : int
        Iterations in which the rate rises on a line. 0 is no warm-up.
    warmup_factor : float
        The rate begins as this part of what it is after the warm-up.
    momentum : float
    weight_decay : float
        L2 penalty, added to the gradient as weight_decay * weight.
    undecayed : tuple of str
        Kinds of weights without decay: "bias" is every shift, and "scale" that of a normalization.
    bias_rate : float
        Multiplies the learning rate of biases.
    clip_norm : float or None
        Largest L2 norm of the gradient of all weights. A longer one is scaled down.
    batch_norm : {"trained", "fixed_statistics", "affine"}
        Of the blocks, and of a backbone with ``norm="batch"``: with the batch's statistics, with
        those that were loaded, or without training scale and shift either.
    bn_momentum : float
        Weight of the new batch in the running statistics.
    frozen : tuple of str
        First parts of the names of weights that are not trained, such as "backbone.body.layer1".
    initial : {"random", "imagenet", "coco"}
        Initial weights: random ones, those of a classifier for the backbone, or a detector's.
    sources : mapping of field to str
        Where the value of a field was read.

    Raises
    ------
    TypeError, ValueError
        A field is wrong. The message gives its name, the expected and the received value.
    """

    name: str
    detector: DetectorSpec
    flip: bool = True
    batch: int
    images_per_device: int
    iterations: int | None
    epochs: int | None
    base_rate: float
    steps: tuple[int, ...]
    factors: tuple[float, ...]
    warmup: int
    warmup_factor: float
    momentum: float = 0.9
    weight_decay: float = 1e-4
    undecayed: tuple[str, ...] = ()
    bias_rate: float = 1.0
    clip_norm: float | None = None
    batch_norm: str = "trained"
    bn_momentum: float = 0.1
    frozen: tuple[str, ...] = ()
    initial: str = "imagenet"
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.detector, Mapping):
            object.__setattr__(self, "detector", DetectorSpec(**self.detector))
        if not isinstance(self.detector, DetectorSpec):
            raise TypeError(f"detector must be a DetectorSpec; received {self.detector!r}")
        for name in ("steps", "factors", "undecayed", "frozen"):
            if not isinstance(getattr(self, name), (tuple, list)):
                raise TypeError(f"{name} must be a tuple; received {getattr(self, name)!r}")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_numbers()
        self._check_choices()
        self._check_schedule()

    def _check_numbers(self) -> None:
        for name in ("batch", "images_per_device"):
            positive_int(name, getattr(self, name))
        for name in ("iterations", "epochs"):
            if getattr(self, name) is not None:
                positive_int(name, getattr(self, name))
        numbers: dict[str, tuple[float, float]] = {
            "base_rate": (0, float("inf")),
            "warmup": (0, float("inf")),
            "warmup_factor": (0, 1),
            "momentum": (0, 1),
            "weight_decay": (0, float("inf")),
            "bias_rate": (0, float("inf")),
            "bn_momentum": (0, 1),
        }
        if self.clip_norm is not None:
            numbers["clip_norm"] = (0, float("inf"))
        for name, (low, high) in numbers.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number; received {value!r}")
            if not low <= value <= high or value == float("inf"):
                raise ValueError(f"{name} must be from {low} to {high}; received {value!r}")

    def _check_choices(self) -> None:
        for name, values in CHOICES.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name} must be one of {values}; received {getattr(self, name)!r}"
                )
        if not isinstance(self.flip, bool):
            raise TypeError(f"flip must be a bool; received {self.flip!r}")
        if wrong := sorted(set(self.undecayed) - set(KINDS)):
            raise ValueError(f"undecayed must contain kinds of {KINDS} only; received {wrong[0]!r}")

    def _check_schedule(self) -> None:
        if (self.iterations is None) == (self.epochs is None):
            raise ValueError(
                "one of iterations and epochs must be an int and the other None; received "
                f"iterations={self.iterations}, epochs={self.epochs}"
            )
        if self.batch % self.images_per_device:
            raise ValueError(
                f"batch must be a multiple of images_per_device={self.images_per_device}; "
                f"received {self.batch}"
            )
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps must increase; received {self.steps}")
        if len(self.factors) != len(self.steps) + 1:
            raise ValueError(
                f"factors must be {len(self.steps) + 1} numbers, one more than steps; received "
                f"{self.factors}"
            )

    def __repr__(self) -> str:
        length = f"{self.iterations} iterations" if self.iterations else f"{self.epochs} epochs"
        return f"<CocoRecipe {self.name!r}: batch {self.batch}, {length}, rate {self.base_rate:g}>"

    @property
    def task(self) -> str:
        """ "mask" or "keypoints"."""
        return self.detector.task

    @property
    def precise_statistics(self) -> int:
        """0, because running statistics are averages over the training."""
        return 0

    def iterations_per_epoch(self, images: int) -> int:
        """images / batch, rounded down. 0 is a ValueError."""
        count = positive_int("images", images) // self.batch
        if count == 0:
            raise ValueError(f"images must be at least batch={self.batch}; received {images}")
        return count

    def total_iterations(self, images: int) -> int:
        """Number of iterations of the training, for a number of training images."""
        return self.iterations or (self.epochs or 0) * self.iterations_per_epoch(images)

    def learning_rate(self, iteration: int, images: int) -> float:
        """The learning rate at an iteration, which is counted from 0.

        Raises
        ------
        ValueError
            The iteration is outside the training.

        Examples
        --------
        >>> from nlcore.coco import coco_recipe
        >>> coco_recipe("detectron_mask").learning_rate(60_000, 118_000)
        0.002
        """
        total = self.total_iterations(images)
        if not 0 <= iteration < total:
            raise ValueError(f"iteration must be from 0 to {total - 1}; received {iteration}")
        length = 1 if self.epochs is None else self.iterations_per_epoch(images)

        def rate(at: float) -> float:
            return steps_rate(at // length, self.base_rate, self.steps, self.factors)

        return warmed_up(rate, iteration, self.warmup, self.warmup_factor * rate(self.warmup))

    def trained(self, name: str) -> bool:
        """Whether a weight is trained, by its name in torchvision's model."""
        return not any(name == part or name.startswith(f"{part}.") for part in self.frozen)

    def groups(self, shapes: Mapping[str, Any]) -> list[tuple[list[str], float, float]]:
        """Names of trained weights, their weight decay, and what multiplies their learning rate.

        `shapes` are those of the parameters by name.
        """
        groups: dict[tuple[float, float], list[str]] = {}
        for name, shape in shapes.items():
            if self.trained(name):
                what = kind(name, shape)
                decay = 0.0 if what in self.undecayed else self.weight_decay
                times = self.bias_rate if what == "bias" else 1.0
                groups.setdefault((decay, times), []).append(name)
        return [(names, *numbers) for numbers, names in groups.items()]


def kind(name: str, shape: Any) -> str:
    """ "bias" for a shift, "scale" for that of a normalization, or "weight".

    Examples
    --------
    >>> kind("backbone.fpn.inner_blocks.0.0.bias", (256,)), kind("x.non_local.bn.weight", (8,))
    ('bias', 'scale')
    """
    if name.endswith("bias"):
        return "bias"
    return "scale" if len(shape) == 1 and not name.endswith("f.weight") else "weight"
