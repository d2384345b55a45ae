"""What a backend provides to be trained: everything that computes with tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]


class LearnerState(NamedTuple):
    """All that a learner needs to go on.

    Attributes
    ----------
    weights : dict of str to array
        By the names of `nlcore.video.network_weight_shapes`.
    momentum : dict of str to array
        Of the optimizer, by the names of the trained weights. Empty before the first update.
    extra : dict
        Of the framework, as JSON, such as the scale of float16's loss.
    """

    weights: Arrays
    momentum: Arrays
    extra: dict[str, Any]


class Learner(Protocol):
    """A network, its loss and its optimizer, on the devices of one process.

    Attributes
    ----------
    process, processes : int
        Number of this process from 0, and number of processes. Each has its own learner, and all
        of them make the same calls.
    """

    process: int
    processes: int

    def load(self, state: LearnerState) -> None:
        """Replace the weights, the momentum and the rest."""

    def state(self) -> LearnerState:
        """What `load` takes, as copies."""

    def gradients(self, batches: Iterable[Any], clips: int) -> tuple[float, Any]:
        """Compute the gradients of the batches of this process, and add them up.

        The loss of a clip is divided by `clips`, the number of clips of all processes.

        Each batch has batch statistics of its own, where they are trained. Only the batch with
        slot 0 changes the running statistics. Dropout is seeded with
        `nlcore.video.draws.framework_seed` of the iteration and of the batch's first slot.

        Returns
        -------
        loss : float
            The sum over the clips of this process.
        counted : int or array
            What `Task.row` makes columns of, after it is summed over all processes. Of clips, it
            is the number of those whose label has the largest logit, 0 for several labels.
        """

    def update(self, rate: float) -> None:
        """Add the gradients of all processes, update the weights, and forget the gradients."""

    def statistics(self, batches: Iterable[Any]) -> None:
        """Compute the running statistics of batch normalization anew, from all processes' batches.

        They are the mean of the batches' means, and the mean of their squares (biased variance +
        mean²) minus its square, as the authors' code computes them. Without a batch, they are
        those of process 0.
        """

    def scores(self, pixels: Any) -> Any:
        """Scores (B, classes) of clips (B, 3, T, h, w): softmax or sigmoid, in evaluation mode."""

    def summed(self, values: np.ndarray) -> np.ndarray:
        """The sum of float64 values over all processes, the same in each."""
