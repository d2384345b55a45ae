"""Training in PyTorch: in one process, or in those that `torchrun` starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nlcore.checkpoints.starting_weights import read_source, starting_weights
from nlcore.video.running import Outcome, RunSettings, run_training
from nlcore.video.running.reporting import Reporter, tensorboard_log
from nlcore.video.running.run_folder import facts_of
from nlcore_torch.convert import read_weights
from nlcore_torch.video.learner import TorchLearner
from nlcore_torch.video.processes import place_of_process


def train(
    settings: RunSettings,
    initial: Path | None = None,
    naming: str | None = None,
    *,
    device: str | None = None,
    precision: str = "float32",
    channels_last: bool = False,
    compile: bool = False,
    deterministic: bool = False,
    reporters: Sequence[Reporter] = (),
) -> Outcome:
    """Train a network, or go on with it.

    Parameters
    ----------
    settings : RunSettings
    initial : Path, optional
        Initial weights: a file, a checkpoint or a run. See `nlcore.checkpoints.starting_weights`.
    naming : str, optional
        Whose names the file has.
    device : str, optional
        Default: "cuda" if there is one.
    precision, channels_last, compile
        See `TorchLearner`.
    deterministic : bool
        Whether PyTorch must compute the same bits each time, where it can. On CPUs it always does.
    reporters : sequence of Reporter

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError, OSError
        See `nlcore.video.running.run_training`.
    """
    if deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False

    def start() -> tuple[dict[str, np.ndarray], str]:
        names = settings.index.names
        source = None if initial is None else read_source(initial, read_weights, names)
        return starting_weights(settings.recipe, settings.seed, source, naming)

    with place_of_process(device) as place, tensorboard_log(settings.output, place.process) as log:
        learner = TorchLearner(
            settings.recipe, settings.seed, place, precision, channels_last, compile
        )
        more = {"device": str(place.device), "precision": precision}
        facts = facts_of("torch", ("torch",), names=settings.index.names, **more)
        return run_training(settings, learner, start, (*reporters, *log), facts)
