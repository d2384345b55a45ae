"""python -m benchmarks.keras_networks: whole Keras networks beside the same with Keras' layers."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from keras import layers
from rich.console import Console
from rich.progress import track

from benchmarks.engines import Engine, about_device, about_engine
from benchmarks.timing import interleaved, medians
from nlcore.video import placement, recipe
from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.loading import Batch
from nlcore.video.running.learner import LearnerState
from nlcore_keras.video import building
from nlcore_keras.video.learner import KerasLearner

#: Fields of the networks that are compared. Clips have 8 frames, and are halved once over time.
NETWORKS: dict[str, dict[str, Any]] = {
    "C2D": {"inflation": "none", "non_local": ()},
    "I3D": {"non_local": ()},
    "NL C2D": {"inflation": "none", "non_local": placement(50, 5), "dialect": "caffe2"},
    "NL I3D": {"non_local": placement(50, 5), "dialect": "caffe2"},
}
CLIPS = (2, 3, 8, 112, 112)

Call = Callable[[], object]


def main(
    seconds: Annotated[float, typer.Option(help="For each comparison.")] = 60.0,
    only: Annotated[str, typer.Option(help="Only networks whose name contains this.")] = "",
    output: Annotated[Path, typer.Option(help="Where results go.")] = Path("keras_networks.json"),
) -> None:
    """Time ResNet-50 as C2D and I3D, on the engine of KERAS_BACKEND, which is compiled.

    Beside each: the same network with Keras' own Conv3D in the place of nlcore's.
    """
    about = {
        "engine": about_engine(Engine(keras.backend.backend())),
        "device": about_device("cpu"),
        "python": platform.python_version(),
    }
    results: list[dict[str, Any]] = []
    chosen = [name for name in NETWORKS if only in name]
    for name in track(chosen, "networks", console=Console(stderr=True)):
        with own_convolutions():
            theirs = calls(name)
        ours = calls(name)
        for direction in ours:
            both = {"nlcore": ours[direction], "keras": theirs[direction]}
            found = interleaved(both, seconds)
            print(name, direction, {n: f"{s:.3g} s" for n, s in medians(found).items()}, flush=True)
            results.append({"network": name, "direction": direction, "seconds": found})
            output.write_text(json.dumps({**about, "clips": CLIPS, "keras_networks": results}))


@contextmanager
def own_convolutions() -> Iterator[None]:
    """Within it, networks are built of Keras' own Conv3D."""
    ours = building.Conv3D
    building.Conv3D = layers.Conv3D  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        building.Conv3D = ours  # type: ignore[misc]


def calls(name: str) -> dict[str, Call]:
    """Scores of clips, and an iteration of training, both compiled."""
    network = {"temporal_strides": (1, 1, 2), "dropout": 0.0, **NETWORKS[name]}
    known = recipe("paper", network=network, initial="random", crop=CLIPS[-1])
    learner = KerasLearner(known)
    learner.load(LearnerState(initial_network_weights(known.network, 0), {}, {}))
    pixels = np.random.default_rng(0).normal(size=CLIPS).astype(np.float32)
    slots = np.arange(len(pixels))
    batch = Batch(0, 0, slots, pixels, slots)

    def step() -> None:
        learner.gradients([batch], len(pixels))
        learner.update(1e-3)

    return {"inference": lambda: learner.scores(pixels), "training": step}


if __name__ == "__main__":
    typer.run(main)
