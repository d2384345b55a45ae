"""Evaluation in PyTorch: in one process, or in those that `torchrun` starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nlcore.checkpoints.starting_weights import complete_weights, read_source
from nlcore.video.running.learner import LearnerState
from nlcore.video.running.run_folder import facts_of
from nlcore.video.running.view_scoring import EvaluationSettings, run_evaluation
from nlcore.video.views import ViewScores
from nlcore_torch.convert import read_weights
from nlcore_torch.video.learner import TorchLearner
from nlcore_torch.video.processes import place_of_process


def evaluate(
    settings: EvaluationSettings,
    weights: Path,
    naming: str = "nlcore",
    *,
    device: str | None = None,
    precision: str = "float32",
    channels_last: bool = False,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> ViewScores | None:
    """The scores of all test views, also in the file scores.npz of the output folder.

    Parameters
    ----------
    settings : EvaluationSettings
    weights : Path
        A run, of which the newest checkpoint is taken, a checkpoint, or a file of weights.
    naming : str
        Whose names the file has, see `nlcore.checkpoints.starting_weights`.
    device : str, optional
        Default: "cuda" if there is one.
    precision, channels_last
        See `TorchLearner`.
    tell : function
        Called with how many views of this process are done, of how many.

    Returns
    -------
    ViewScores or None
        None in all processes but the first.

    Raises
    ------
    ValueError, OSError
        See `nlcore.video.running.view_scoring.run_evaluation`.
    """
    recipe = settings.recipe
    found = complete_weights(recipe.network, read_source(weights, read_weights), naming)
    with place_of_process(device) as place:
        learner = TorchLearner(recipe, 0, place, precision, channels_last)
        learner.load(LearnerState(found, {}, {}))
        facts = facts_of("torch", ("torch",), recipe=recipe.name, weights=str(weights))
        return run_evaluation(settings, learner, facts, tell)
