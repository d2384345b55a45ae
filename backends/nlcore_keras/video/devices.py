"""The devices on which Keras computes: all of one kind on JAX, one on the other engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops


class Devices:
    """Devices that compute together.

    Parameters
    ----------
    distribution : keras.distribution.DataParallel or None
        None for one device.

    Attributes
    ----------
    count : int
    """

    def __init__(self, distribution: Any = None) -> None:
        self._distribution = distribution
        self.count = 1 if distribution is None else distribution.num_model_replicas

    def tensor(self, array: np.ndarray) -> Any:
        """An array as a tensor, the same on every device."""
        return self._placed(array, [None] * np.ndim(array))

    def divided(self, array: np.ndarray) -> Any:
        """An array as a tensor whose rows are divided among the devices, if they can be."""
        if self._distribution is None or len(array) % self.count:
            return self.tensor(array)
        axes = [self._distribution.batch_dim_name, *[None] * (array.ndim - 1)]
        return self._placed(array, axes)

    def _placed(self, array: np.ndarray, axes: list[str | None]) -> Any:
        if self._distribution is None:
            return ops.convert_to_tensor(array)
        layout = keras.distribution.TensorLayout(axes, self._distribution.device_mesh)
        return keras.distribution.distribute_tensor(array, layout)


@contextmanager
def chosen_devices(device: str | None = None) -> Iterator[Devices]:
    """The devices of a name, such as "cpu", "cuda" or "cuda:1", by default the engine's choice.

    On JAX, they are all devices of the kind, unless the name has a number.

    Raises
    ------
    ValueError
        The engine has no such device.
    """
    name = None if device is None else device.replace("cuda", "gpu")  # Keras' word
    with ExitStack() as stack:
        try:
            distribution = _distribution(name)
            if distribution is None and name is not None:
                stack.enter_context(keras.device(name))
                ops.convert_to_numpy(ops.zeros(()))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"device must be one that Keras supports on {keras.backend.backend()}; received "
                f"{device!r}: {error}"
            ) from None
        if distribution is not None:
            stack.enter_context(distribution.scope())
        yield Devices(distribution)


def _distribution(name: str | None) -> Any:
    if keras.backend.backend() != "jax" or (name is not None and ":" in name):
        return None
    found = keras.distribution.list_devices(name)
    return keras.distribution.DataParallel(devices=found) if len(found) > 1 else None
