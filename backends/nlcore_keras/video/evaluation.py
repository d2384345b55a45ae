"""Evaluation in Keras: in one process, on the engine that KERAS_BACKEND names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nlcore.checkpoints.starting_weights import complete_weights, read_source
from nlcore.video.running.learner import LearnerState
from nlcore.video.running.view_scoring import EvaluationSettings, run_evaluation
from nlcore.video.views import ViewScores
from nlcore_keras.video.devices import chosen_devices
from nlcore_keras.video.learner import KerasLearner
from nlcore_keras.video.training import keras_facts


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
        See `chosen_devices`. Several devices divide the views that are computed at once.
    precision : str
        See `KerasLearner`.
    channels_last : bool
        Not used: channels are always last.
    tell : function
        Called with how many views are done, of how many.

    Raises
    ------
    ValueError, OSError
        See `nlcore.video.running.view_scoring.run_evaluation`.
    """
    recipe = settings.recipe
    found = complete_weights(recipe.network, read_source(weights), naming)
    with chosen_devices(device) as devices:
        learner = KerasLearner(recipe, 0, devices, precision)
        learner.load(LearnerState(found, {}, {}))
        facts = keras_facts(recipe=recipe.name, weights=str(weights))
        return run_evaluation(settings, learner, facts, tell)
