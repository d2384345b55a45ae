"""KerasLearner: a network with its loss and optimizer, as `nlcore.video.running` trains it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from nlcore.video import Recipe
from nlcore.video.draws import framework_seed
from nlcore.video.loading import Batch
from nlcore.video.running.learner import LearnerState
from nlcore_keras.video.compiling import Tensors, engine, seed_state
from nlcore_keras.video.devices import Devices
from nlcore_keras.video.loss_scale import LossScale
from nlcore_keras.video.network import Network, from_keras, to_keras
from nlcore_keras.video.norms import MomentSums, RecipeNorms
from nlcore_keras.video.steps import Steps

#: Name of a precision -> Keras' dtype policy.
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
    "float64": "float64",
}


class KerasLearner:
    """A `nlcore.video.running.Learner` of Keras, in one process.

    The weights are tensors by name, and a step is a function of them that changes nothing, which
    each engine compiles. The network's own variables have no values.

    Parameters
    ----------
    recipe : Recipe
    seed : int
        Of dropout.
    devices : Devices, optional
        Several devices compute neighbouring batches at the same time. Their number must divide
        the recipe's.
    precision : {"float32", "bfloat16", "float16", "float64"}
        bfloat16 and float16 are Keras' mixed policies. The loss of float16 is scaled. float64 on
        JAX needs jax_enable_x64.

    Raises
    ------
    ValueError
        The precision is unknown, or the devices of the recipe cannot be divided.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int = 0,
        devices: Devices | None = None,
        precision: str = "float32",
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {tuple(PRECISIONS)}; received {precision!r}"
            )
        self.recipe, self.seed = recipe, seed
        self.devices = devices or Devices()
        if recipe.devices % self.devices.count:
            raise ValueError(
                f"the number of devices must divide {recipe.devices}, the devices of the recipe "
                f"(batch={recipe.batch}, clips_per_device={recipe.clips_per_device}); received "
                f"{self.devices.count}. One of them has a number, such as cuda:0"
            )
        self.process, self.processes = 0, 1
        # Its variables get no values, which take memory, and on JAX are compiled for each shape.
        with keras.StatelessScope(initialize_variables=False):
            self.network = Network(
                recipe.network, data_format="channels_last", dtype=PRECISIONS[precision]
            )
        self.norms = RecipeNorms(self.network, recipe)
        self._variables = self.network.named_variables()
        groups = recipe.groups(self._variables)
        self._trained = {name for names in groups.values() for name in names}
        self._weights: Tensors = {}
        self._momentum: Tensors = {}
        self._gradients: Tensors = {}
        self._scale = LossScale(precision == "float16")
        self._steps = Steps(self.network, self.norms, recipe, self._scale.enabled)

    def load(self, state: LearnerState) -> None:
        """Replace the weights, the momentum and the scale of the loss."""
        self._weights = {name: self._tensor(name, state.weights[name]) for name in self._variables}
        self._momentum = {
            name: self._tensor(name, state.momentum[name])
            for name in self._variables
            if name in self._trained and name in state.momentum
        }
        self._scale.load(state.extra)

    def state(self) -> LearnerState:
        """The weights, the momentum and the scale of the loss, as copies."""
        return LearnerState(_arrays(self._weights), _arrays(self._momentum), self._scale.state())

    def gradients(self, batches: Iterable[Batch], clips: int) -> tuple[float, int]:
        """See `nlcore.video.running.Learner`."""
        trained, others = self._divided_weights()
        factor = np.array(1.0 / clips), np.array(self._scale.value)
        total, right = 0.0, 0
        for group in _groups(batches, self.devices.count):
            several = len(group) > 1
            place = self.devices.divided if several else self.devices.tensor
            given = [place(array) for array in self._stacked(group)]
            step = self._steps.gradients_of_several if several else self._steps.gradients
            (_, (loss, found, moments)), gradients = step(trained, others, *given, *factor)
            if self._gradients:
                gradients = self._steps.added(self._gradients, gradients)
            self._gradients = gradients
            if group[0].first == 0 and moments:
                self._weights |= self._steps.running(self._weights, moments)
            total, right = total + float(loss), right + int(found)
        return total, right

    def update(self, rate: float) -> None:
        """See `nlcore.video.running.Learner`."""
        trained, _ = self._divided_weights()
        scalars = np.array(rate), np.array(1.0 / self._scale.value)
        weights, momentum, finite = self._steps.update(
            trained, self._momentum, self._gradients, *scalars
        )
        self._gradients = {}
        if self._scale.enabled:
            self._scale.after(bool(finite))
            if not finite:
                return
        self._weights, self._momentum = self._weights | weights, momentum

    def statistics(self, batches: Iterable[Batch]) -> None:
        """See `nlcore.video.running.Learner`."""
        sums = MomentSums()
        for group in _groups(batches, self.devices.count):
            place = self.devices.divided if len(group) > 1 else self.devices.tensor
            steps = self._steps
            moments_of = steps.moments_of_several if len(group) > 1 else steps.moments
            found = moments_of(self._weights, place(self._stacked(group)[0]))
            sums.add(
                {n: (_array(m.mean), _array(m.variance)) for n, m in found.items()}, len(group)
            )
        new = sums.statistics().items()
        self._weights |= {name: self._tensor(name, value) for name, value in new}

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """See `nlcore.video.running.Learner`."""
        return _array(self._steps.scores(self._weights, self.devices.divided(pixels)))

    def summed(self, values: np.ndarray) -> np.ndarray:
        """See `nlcore.video.running.Learner`."""
        return np.array(values, np.float64)

    def _divided_weights(self) -> tuple[Tensors, Tensors]:
        """The trained weights, and the others."""
        trained = {n: value for n, value in self._weights.items() if n in self._trained}
        return trained, {n: v for n, v in self._weights.items() if n not in self._trained}

    def _tensor(self, name: str, value: np.ndarray) -> Any:
        dtype = keras.backend.standardize_dtype(self._variables[name].dtype)
        return self.devices.tensor(np.ascontiguousarray(to_keras(name, value), dtype))

    def _stacked(self, group: list[Batch]) -> list[np.ndarray]:
        """Pixels, targets and seeds of batches. Those of one batch have no first axis."""
        seeds = [framework_seed(self.seed, batch.iteration, batch.first) for batch in group]
        engine().seed(seeds[0])
        columns = (
            [batch.pixels for batch in group],
            [batch.targets for batch in group],
            [seed_state(seed) for seed in seeds],
        )
        return [np.stack(column) if len(group) > 1 else column[0] for column in columns]


def _groups(batches: Iterable[Batch], count: int) -> Iterator[list[Batch]]:
    """Neighbouring batches, `count` at a time. Those of an incomplete group come one by one."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == count:
            same = len({one.pixels.shape for one in group}) == 1
            yield from [group] if same else ([one] for one in group)
            group = []
    yield from ([one] for one in group)


def _array(tensor: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(tensor))


def _arrays(tensors: Tensors) -> dict[str, np.ndarray]:
    """By nlcore's shapes."""
    return {name: np.ascontiguousarray(from_keras(name, _array(v))) for name, v in tensors.items()}
