"""Training in Keras: in one process, on the engine that KERAS_BACKEND names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nlcore.checkpoints.starting_weights import read_source, starting_weights
from nlcore.video.running import Outcome, RunSettings, run_training
from nlcore.video.running.reporting import Reporter, tensorboard_log
from nlcore.video.running.run_folder import facts_of
from nlcore_keras.video.compiling import engine
from nlcore_keras.video.devices import chosen_devices
from nlcore_keras.video.learner import KerasLearner


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
        See `chosen_devices`.
    precision : str
        See `KerasLearner`.
    channels_last, compile : bool
        Not used. Channels are always last. Keras always compiles the steps on TensorFlow and JAX,
        and never on PyTorch.
    deterministic : bool
        Whether the engine must compute the same bits each time, where it can. On CPUs it always
        does.
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
        make_deterministic()

    def start() -> tuple[dict[str, np.ndarray], str]:
        names = settings.index.names
        source = None if initial is None else read_source(initial, labels=names)
        return starting_weights(settings.recipe, settings.seed, source, naming)

    with chosen_devices(device) as devices, tensorboard_log(settings.output) as log:
        learner = KerasLearner(settings.recipe, settings.seed, devices, precision)
        more = {"device": device, "devices": devices.count, "precision": precision}
        facts = keras_facts(names=settings.index.names, **more)
        return run_training(settings, learner, start, (*reporters, *log), facts)


def keras_facts(**more: Any) -> dict[str, Any]:
    """What a checkpoint or a file of scores states of the software."""
    package = engine().package
    names = ("keras", package, f"{package}-cpu")
    return facts_of("keras", names, engine=package, **more)


def make_deterministic() -> None:
    """Ask the engine for the same bits on each run. JAX has no such function.

    On GPUs, JAX needs the environment variable XLA_FLAGS=--xla_gpu_deterministic_ops=true.
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        keras.utils.set_random_seed(0)  # which it needs
        tf.config.experimental.enable_op_determinism()
    elif name == "torch":
        import torch

        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
