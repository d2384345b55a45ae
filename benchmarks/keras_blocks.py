"""Who computes a task in Keras, compiled by XLA on TensorFlow or JAX: nlcore and a plain block.

Both have the same weights, and x is (1, *positions, C). Beside them, the bare products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from benchmarks.tasks import Task, arrays
from nlcore_keras import NonLocalBlock

Call = Callable[[], object]


def calls(task: Task, only: str = "") -> dict[str, Call]:
    """The implementations, by name, on the engine that Keras runs."""
    layers, x = _layers(task)
    compiled = {"tensorflow": _tensorflow, "jax": _jax}[keras.backend.backend()]
    found = {n: compiled(layer, task, x) for n, layer in layers.items() if only in ("", n)}
    return found | ({"products": _products(task)} if only in ("", "products") else {})


def _layers(task: Task) -> tuple[dict[str, Any], np.ndarray]:
    weights, x = arrays(task)
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1))  # (1, *positions, C)
    ours = NonLocalBlock.from_spec(task.spec, data_format="channels_last", dtype=task.dtype)
    ours.import_weights(weights)
    plain = Einsum(task, weights)
    plain(x[:, : task.subsample[0] if task.subsample else 1])  # builds batch normalization
    return {"nlcore": ours, "einsum": plain}, x


class Einsum(keras.layers.Layer):
    """The block as it is written at first: every pair of positions, by einsum."""

    def __init__(self, task: Task, weights: dict[str, np.ndarray]) -> None:
        super().__init__(dtype=task.dtype)
        self.task, self.named = task, {}
        for name, value in weights.items():
            part, _, kind = name.partition(".")
            if kind == "weight" and part != "bn":
                initial = keras.initializers.Constant(value)
                self.named[part] = self.add_weight(value.shape, initial, name=part)
        self.bn = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
        self.pool = keras.layers.MaxPooling3D(task.subsample) if task.subsample else None

    def call(self, x: Any, training: bool = False) -> Any:
        pairwise, shape = self.task.pairwise, ops.shape(x)
        theta, phi = x, x
        if pairwise != "gaussian":
            theta, phi = (self._times(x, part) for part in ("theta", "phi"))
        g = self._times(x, "g")
        if self.pool is not None:
            phi, g = self.pool(phi), self.pool(g)
        rows = [ops.reshape(v, (shape[0], -1, v.shape[-1])) for v in (theta, phi, g)]
        y = self._attend(*rows)  # (B, N, D)
        y = ops.reshape(y, (*shape[:-1], y.shape[-1]))
        return self.bn(self._times(y, "out"), training=training) + x

    def _times(self, x: Any, part: str) -> Any:
        return ops.einsum("...c,dc->...d", x, self.named[part])

    def _attend(self, theta: Any, phi: Any, g: Any) -> Any:
        """(B, N, D), (B, M, D), (B, M, V) -> (B, N, V)."""
        if self.task.pairwise == "concatenation":
            first, second = ops.split(self.named["f"], 2)  # (D,), (D,)
            a, b = theta @ first[:, None], phi @ second[:, None]  # (B, N, 1), (B, M, 1)
            pairs = ops.relu(a + ops.transpose(b, (0, 2, 1))) / phi.shape[1]  # (B, N, M)
        else:
            logits = ops.einsum("bnd,bmd->bnm", theta, phi)  # (B, N, M)
            linear = self.task.pairwise == "dot_product"
            pairs = logits / phi.shape[1] if linear else ops.softmax(logits, axis=-1)
        return ops.einsum("bnm,bmv->bnv", pairs, g)


def _tensorflow(layer: Any, task: Task, x: np.ndarray) -> Call:
    import tensorflow as tf

    given, dz = tf.constant(x), tf.random.normal(x.shape, dtype=x.dtype)

    @tf.function(jit_compile=True)
    def forward(x: Any, dz: Any) -> Any:
        return layer(x, training=False)

    @tf.function(jit_compile=True)
    def both(x: Any, dz: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = layer(x, training=True)
        variables = [variable.value for variable in layer.trainable_variables]
        return tape.gradient(z, [x, *variables], dz)

    compiled = forward if task.direction == "forward" else both
    return lambda: compiled(given, dz)


def _jax(layer: Any, task: Task, x: np.ndarray) -> Call:
    import jax

    compiled, *arguments = _jitted(layer, task, x)
    return lambda: jax.block_until_ready(compiled(*arguments))


def _jitted(layer: Any, task: Task, x: Any) -> tuple[Any, ...]:
    """The function that JAX compiles, and what it takes."""
    import jax

    values = [variable.value for variable in layer.trainable_variables]
    others = [variable.value for variable in layer.non_trainable_variables]

    def block(values: Any, x: Any, training: bool) -> Any:
        return layer.stateless_call(values, others, x, training=training)[0]

    def forward(values: Any, x: Any) -> Any:
        return block(values, x, False)

    def both(values: Any, x: Any, dz: Any) -> Any:
        return jax.vjp(lambda values, x: block(values, x, True), values, x)[1](dz)

    x, dz = jax.numpy.asarray(x), jax.numpy.asarray(np.random.default_rng(1).normal(size=x.shape))
    if task.direction == "forward":
        return jax.jit(forward), values, x
    return jax.jit(both), values, x, dz.astype(x.dtype)


def _products(task: Task) -> Call:
    """The matrix products that the formula cannot do without, as `torch_blocks.products`."""
    spec, n, m = task.spec, task.queries, task.keys
    c, d = task.channels, spec.inner_channels
    e, width = (3 * d, d) if spec.embedded else (d, c)  # stacked embeddings; theta and phi
    # gx stands for the gradient of theta, phi and g
    shapes = {"x": (n, c), "w": (e, c), "out": (c, d), "y": (n, d), "theta": (n, width)}
    shapes |= {"phi": (m, width), "g": (m, d), "dz": (n, c), "gx": (n, e)}
    rng = np.random.default_rng(0)
    values = {k: ops.convert_to_tensor(rng.normal(size=s), task.dtype) for k, s in shapes.items()}

    def run(v: dict[str, Any]) -> list[Any]:
        t = {name: ops.transpose(array) for name, array in v.items()}
        found = [v["x"] @ t["w"], v["y"] @ t["out"]]
        if "gaussian" in task.pairwise:
            pairs = v["theta"] @ t["phi"]  # (N, M)
            found += [pairs @ v["g"]]
        if task.direction == "forward":
            return found
        if "gaussian" in task.pairwise:
            dpairs = v["y"] @ t["g"]  # (N, M)
            found += [ops.transpose(pairs) @ v["y"]]
            found += [dpairs @ v["phi"], ops.transpose(dpairs) @ v["theta"]]
        return [*found, v["dz"] @ v["out"], t["dz"] @ v["y"], v["gx"] @ v["w"], t["gx"] @ v["x"]]

    if keras.backend.backend() == "jax":
        import jax

        jitted = jax.jit(run)
        return lambda: jax.block_until_ready(jitted(values))
    import tensorflow as tf

    compiled = tf.function(run, jit_compile=True)
    return lambda: compiled(values)


def planned(task: Task, name: str) -> int:
    """Bytes that XLA has planned for the temporary arrays and the results of one call on JAX."""
    layers, x = _layers(task)
    compiled, *arguments = _jitted(layers[name], task, x)
    memory = compiled.lower(*arguments).compile().memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes
