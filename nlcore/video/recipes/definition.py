"""Recipe: the choices that determine how a video network is trained and tested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nlcore.spec import positive_int
from nlcore.video.network import NetworkSpec
from nlcore.video.recipes.learning_rates import cosine_rate, steps_rate, warmed_up
from nlcore.video.recipes.recipe_checks import check_together, checked
from nlcore.video.recipes.weight_kinds import kinds


@dataclass(frozen=True, repr=False, kw_only=True)
class Recipe:
    """A network, the clips that it is trained on, the optimizer, and how it is tested.

    `nlcore.video.recipe` makes one from a preset. Positions of the schedule (`steps`, `warmup`) are
    in iterations if `iterations` is given, and in epochs if `epochs` is given.

    Parameters
    ----------
    name : str
        Name of the preset, and the fields that differ from it: "paper with batch".
    network : NetworkSpec
        Network. It includes dropout and the number of classes.
    frames, stride : int
        Frames per clip, and the step between them in the video.
    sampling : str
        Dialect of clips and views, a key of `nlcore.video.sampling.CLIP_DIALECTS`: which frames
        are taken, how they are resized and cropped, and how bytes become numbers.
    jitter : two ints
        Smallest and largest shorter side to which a training clip is resized, in pixels.
    crop : int
        Side of the training crops in pixels.
    flip : bool
        Whether training clips are mirrored with probability 0.5. Test views are not.
    batch : int
        Clips per iteration.
    clips_per_device : int
        Clips over which batch normalization computes its statistics. The recipe was stated for
        `devices` = batch / clips_per_device.
    stated_videos : int or None
        Training videos of the data set for which the recipe was stated.
    iterations, epochs : int or None
        Length of the training. One of them is None.
    last_batch : {"dropped", "kept"}
        Whether the last videos of an epoch that do not fill a batch are left out or are a batch.
    base_rate : float
        The learning rate that `factors` or the cosine multiplies.
    policy : {"steps", "cosine"}
        See `learning_rates.steps_rate` and `learning_rates.cosine_rate`.
    steps, factors : tuples
        For "steps": the positions at which the rate changes, and its factor before the first step
        and from each step on.
    warmup, warmup_rate : float
        Position up to which the rate rises from `warmup_rate` on a line. 0 is no warm-up.
    rate_per : {"iteration", "epoch"}
        Whether the position in epochs has a fraction, or the rate is constant during an epoch.
    momentum, dampening, nesterov
        As in `torch.optim.SGD`. C2 multiplies the momentum by the ratio of the rates when the rate
        changes, which gives the same weights.
    weight_decay : float
        L2 penalty, added to the gradient as weight_decay * weight.
    undecayed : tuple of str
        Kinds of weights without decay, see `weight_kinds.kinds`.
    clip_norm : float or None
        Largest L2 norm of the gradient of all weights. A longer one is scaled down.
    loss : {"softmax_cross_entropy", "sigmoid_cross_entropy"}
        Mean over the clips, and for the sigmoid over the classes too.
    batch_norm : {"trained", "fixed_statistics", "affine"}
        "trained" uses the batch's statistics. "fixed_statistics" uses the loaded ones and trains
        scale and shift. "affine" trains neither (C2 folds them into one scale and one shift).
    bn_momentum : float
        Weight of the new batch in the running statistics, PyTorch's convention. Caffe2's and
        Keras's is 1 minus it.
    precise_statistics : int
        Iterations of forward passes from which the running statistics are computed anew before
        each evaluation. 0 keeps the running averages.
    initial : {"random", "imagenet", "network", "baseline"}
        Initial weights: random, of an inflated ImageNet network, of the same network after another
        training, or of the network without non-local blocks after another training.
    initial_recipe : str or None
        Name of the recipe of that other training. Nothing is computed from it.
    block_init, block_identity
        Initial weights of non-local blocks that are not loaded, see `nlcore.init_weights`.
    zero_residual : bool
        Whether scale is 0 in the last batch normalization of residual blocks that are not loaded.
    frozen : tuple of str
        First parts of the names of weights that are not trained, such as "res2" or "conv1".
    test_clips, test_crops : int
        Clips per video, spread over time, and crops per clip: 1 in the centre, or 3 along the
        longer side.
    test_short_side : int
        Shorter side to which a test clip is resized, in pixels.
    test_crop : int or None
        Side of the test crops. None takes whole frames.
    merge : {"mean", "max", "sum"}
        How the scores of a video's views are merged. A score is softmax or sigmoid of the logits.
    sources : mapping of field to str
        Where the value of a field was read.

    Raises
    ------
    TypeError, ValueError
        A field is wrong. The message gives its name, the expected and the received value.
    """

    name: str
    network: NetworkSpec
    # clips
    frames: int
    stride: int
    sampling: str
    jitter: tuple[int, int]
    crop: int
    flip: bool
    batch: int
    clips_per_device: int
    stated_videos: int | None
    # schedule
    iterations: int | None
    epochs: int | None
    last_batch: str
    base_rate: float
    policy: str
    steps: tuple[int, ...]
    factors: tuple[float, ...]
    warmup: float
    warmup_rate: float
    rate_per: str
    # optimizer
    momentum: float
    dampening: float
    nesterov: bool
    weight_decay: float
    undecayed: tuple[str, ...]
    clip_norm: float | None
    loss: str
    # batch normalization
    batch_norm: str
    bn_momentum: float
    precise_statistics: int
    # initial weights
    initial: str
    initial_recipe: str | None
    block_init: str
    block_identity: bool
    zero_residual: bool
    frozen: tuple[str, ...]
    # test
    test_clips: int
    test_crops: int
    test_short_side: int
    test_crop: int | None
    merge: str
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, value in checked(self).items():
            object.__setattr__(self, name, value)  # the dataclass is frozen
        check_together(self)

    def __repr__(self) -> str:
        length = f"{self.iterations} iterations" if self.iterations else f"{self.epochs} epochs"
        return f"<Recipe {self.name!r}: batch {self.batch}, {length}, rate {self.base_rate:g}>"

    @property
    def devices(self) -> int:
        """Number of devices for which the recipe was stated."""
        return self.batch // self.clips_per_device

    @property
    def views(self) -> int:
        """Number of test views per video. View v is clip v // test_crops, crop v % test_crops."""
        return self.test_clips * self.test_crops

    def iterations_per_epoch(self, videos: int) -> int:
        """videos / batch, rounded down if the last batch is dropped and up if it is kept.

        SlowFast pads the videos to a multiple of the devices first, so it can have one more. An
        epoch without an iteration is a ValueError.
        """
        videos = positive_int("videos", videos)
        whole, rest = divmod(videos, self.batch)
        count = whole + (rest > 0 and self.last_batch == "kept")
        if count == 0:
            raise ValueError(f"videos must be at least batch={self.batch}; received {videos}")
        return count

    def total_iterations(self, videos: int | None = None) -> int:
        """Number of iterations of the training.

        `videos` is the number of training videos, and needed if the recipe counts epochs.
        """
        if self.epochs is None:
            return self.iterations or 0  # not None, which is checked
        return self.epochs * self.iterations_per_epoch(self._needed(videos))

    def learning_rate(self, iteration: int, videos: int | None = None) -> float:
        """The learning rate at an iteration, which is counted from 0.

        Parameters
        ----------
        iteration : int
        videos : int, optional
            Number of training videos. It is needed if the recipe counts epochs.

        Raises
        ------
        ValueError
            The iteration is outside the training, or `videos` is missing.
        """
        total = self.total_iterations(videos)
        if not 0 <= iteration < total:
            raise ValueError(f"iteration must be from 0 to {total - 1}; received {iteration}")
        position: float = iteration
        if self.epochs is not None:
            epoch_length = self.iterations_per_epoch(self._needed(videos))
            epoch, inside = divmod(iteration, epoch_length)
            position = epoch + (inside / epoch_length if self.rate_per == "iteration" else 0)
        return warmed_up(self._rate, position, self.warmup, self.warmup_rate)

    def _rate(self, position: float) -> float:
        """The rate without warm-up."""
        if self.policy == "steps":
            return steps_rate(position, self.base_rate, self.steps, self.factors)
        return cosine_rate(position, self.base_rate, self.epochs or self.iterations or 0)

    def _needed(self, videos: int | None) -> int:
        if videos is None:
            raise ValueError(
                f"videos must be the number of training videos, because {self.name!r} counts "
                "epochs; received None"
            )
        return videos

    def scaled(self, batch: int, same: str = "clips") -> Recipe:
        """This recipe for another batch, by the linear rule: rates are multiplied by batch / old.

        Parameters
        ----------
        batch : int
            Clips per iteration, a multiple of clips_per_device.
        same : {"clips", "iterations"}
            "clips" keeps the number of clips of the training: iterations, steps and warm-up are
            multiplied by old / batch and rounded, unless they are in epochs. "iterations" keeps the
            number of iterations, as the paper does for 128 frames.

        Notes
        -----
        Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD", arXiv 1706.02677.

        Examples
        --------
        >>> from nlcore.video import recipe
        >>> recipe("paper").scaled(32)
        <Recipe 'paper scaled to 32': batch 32, 800000 iterations, rate 0.005>
        """
        if same not in ("clips", "iterations"):
            raise ValueError(f"same must be 'clips' or 'iterations'; received {same!r}")
        old, new = self.batch, positive_int("batch", batch)
        changed: dict[str, Any] = {
            "batch": new,
            "base_rate": self.base_rate * new / old,
            "warmup_rate": self.warmup_rate * new / old,
        }
        if same == "clips" and self.iterations is not None:
            changed |= {
                "iterations": round(self.iterations * old / new),
                "steps": tuple(round(step * old / new) for step in self.steps),
                "warmup": self.warmup * old / new,
            }
        scaled_by = f"{self.name}, scaled from batch {old} by the linear rule"
        sources = dict(self.sources) | dict.fromkeys(changed, scaled_by)
        return replace(self, name=f"{self.name} scaled to {new}", sources=sources, **changed)

    def trained(self, name: str) -> bool:
        """Whether a weight is trained, by its name in `network_weight_shapes`."""
        if any(name == part or name.startswith(f"{part}.") for part in self.frozen):
            return False
        return not (self.batch_norm == "affine" and "batch_norm" in kinds(name))

    def decay(self, name: str) -> float:
        """Weight decay of a weight, by its name in `network_weight_shapes`."""
        return 0.0 if kinds(name) & set(self.undecayed) else self.weight_decay

    def groups(self, names: Iterable[str]) -> dict[float, list[str]]:
        """Weight decay -> the names of the trained weights that it applies to, in their order.

        Running statistics among the names are left out.
        """
        groups: dict[float, list[str]] = {}
        for name in names:
            if "running_" not in name and self.trained(name):
                groups.setdefault(self.decay(name), []).append(name)
        return groups
