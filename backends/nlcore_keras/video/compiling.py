"""What differs between Keras' engines in a training step: derivatives, compilation, seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np

#: Tensors by name.
Tensors = dict[str, Any]


class Engine(Protocol):
    """TensorFlow, JAX or PyTorch, for functions of tensors that change nothing.

    Attributes
    ----------
    package : str
        Name of its package.
    """

    package: str

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, compiled for each shape of its arguments, which are tensors in dicts.

        TensorFlow compiles a function for all sizes when it is called with the second one.
        """

    def value_and_gradients(
        self, function: Callable[[Tensors], tuple[Any, Any]], weights: Tensors
    ) -> tuple[tuple[Any, Any], Tensors]:
        """(value, others) of function(weights), and the gradients of the value by name."""

    def over_devices(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function of rows of the arguments, for all rows. Each result gets a first axis."""

    def seed(self, seed: int) -> None:
        """Seed the engine's own generator, where layers use it."""


class _TensorFlow:
    package = "tensorflow"

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import tensorflow as tf

        # Its fusions fail on the gradients of padded convolutions, with an error in the log.
        tf.config.optimizer.set_experimental_options({"remapping": False})
        return tf.function(function, autograph=False, reduce_retracing=True)

    def value_and_gradients(
        self, function: Callable[[Tensors], tuple[Any, Any]], weights: Tensors
    ) -> tuple[tuple[Any, Any], Tensors]:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(weights)
            value, others = function(weights)
        zero = tf.UnconnectedGradients.ZERO
        return (value, others), tape.gradient(value, weights, unconnected_gradients=zero)

    def over_devices(self, function: Callable[..., Any]) -> Callable[..., Any]:
        raise NotImplementedError("TensorFlow computes on one device")

    def seed(self, seed: int) -> None:
        pass  # its layers draw from their own seeds, which are arguments of the step


class _Jax:
    package = "jax"

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import jax

        return jax.jit(function)

    def value_and_gradients(
        self, function: Callable[[Tensors], tuple[Any, Any]], weights: Tensors
    ) -> tuple[tuple[Any, Any], Tensors]:
        import jax

        return jax.value_and_grad(function, has_aux=True)(weights)

    def over_devices(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import jax

        return jax.vmap(function)

    def seed(self, seed: int) -> None:
        pass  # as in TensorFlow


class _Torch:
    package = "torch"

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import torch

        return torch.no_grad()(function)

    def value_and_gradients(
        self, function: Callable[[Tensors], tuple[Any, Any]], weights: Tensors
    ) -> tuple[tuple[Any, Any], Tensors]:
        import torch

        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
            value, others = function(leaves)
            found = torch.autograd.grad(
                value, list(leaves.values()), allow_unused=True, materialize_grads=True
            )
        return (value.detach(), others), dict(zip(leaves, found, strict=True))

    def over_devices(self, function: Callable[..., Any]) -> Callable[..., Any]:
        raise NotImplementedError("Keras on PyTorch computes on one device")

    def seed(self, seed: int) -> None:
        import torch

        torch.manual_seed(seed)  # Keras' dropout draws from it, as PyTorch's does


_ENGINES: Mapping[str, type[Engine]] = {
    "tensorflow": _TensorFlow,
    "jax": _Jax,
    "torch": _Torch,
}


def engine() -> Engine:
    """The engine that Keras is configured for (KERAS_BACKEND)."""
    return _ENGINES[keras.backend.backend()]()


def seed_state(seed: int) -> np.ndarray:
    """The state (2,) of a keras.random.SeedGenerator with this seed of 32 bits."""
    dtype = {"tensorflow": "int64", "jax": "uint32", "torch": "int32"}[keras.backend.backend()]
    return np.array([seed, 0], np.uint32).astype(dtype)
