"""The paper's networks for video, from `nlcore.video`, as one Keras model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from nlcore.video import NetworkSpec, check_network_weights
from nlcore.video.network import BN_EPS, FC_STD, Conv, Pool, Residual, Sizes
from nlcore_keras.block import NonLocalBlock
from nlcore_keras.operation.arguments import checked_data_format

#: Keras' names of batch normalization's weights -> nlcore's.
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
NORM |= {"moving_variance": "running_var"}


@keras.saving.register_keras_serializable(package="nlcore")
class Network(keras.Model):
    """C2D, I3D or a non-local network: clips (B, T, H, W, 3) -> logits (B, classes).

    Parameters
    ----------
    spec : nlcore.video.NetworkSpec
    positions : (T, H, W)
        Of the clips; each may be None.
    identity : bool
        Non-local blocks start as the identity, so that the network is its own without them.
    data_format : {"channels_last", "channels_first"}, optional
        Default keras.config.image_data_format(). With "channels_first", clips (B, 3, T, H, W).
    dtype : str or keras.DTypePolicy, optional
        Of every layer.
    **kwargs
        Of keras.Model: name, trainable.

    Raises
    ------
    TypeError, ValueError
        Unknown data format; clips that a non-local block or a pooling does not take.

    Notes
    -----
    `export_weights` has the names and shapes of `nlcore.video.network_weight_shapes(spec)`, so that
    one file serves this and `nlcore_torch.video.Network`. In training, Keras' batch normalization
    takes the biased variance into its running one, and PyTorch's takes the unbiased.

    Source: arXiv 1711.07971, Table 1 and Sec. 4.

    Examples
    --------
    >>> from nlcore.video import NetworkSpec
    >>> network = Network(NetworkSpec().with_blocks(5), data_format="channels_last")
    >>> logits = network(keras.random.normal((1, 32, 224, 224, 3)))  # (1, 400)
    """

    def __init__(
        self,
        spec: NetworkSpec,
        *,
        positions: Sequence[int | None] = (None, None, None),
        identity: bool = True,
        data_format: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        data_format = checked_data_format(data_format)
        policy = keras.dtype_policies.get(dtype)
        build = _Builder(identity, data_format, policy)
        last = data_format == "channels_last"
        size = (*positions, 3) if last else (3, *positions)
        clips = keras.Input(size, dtype=policy.variable_dtype)
        super().__init__(clips, build.logits(spec, clips), **kwargs)
        self.spec, self.positions, self.identity = spec, tuple(positions), identity
        self.data_format, self._named, self._policy = data_format, build.named, policy

    def export_weights(self) -> dict[str, np.ndarray]:
        """The weights by name as NumPy arrays, as `nlcore.video.network_weight_shapes` has them."""
        found: dict[str, np.ndarray] = {}
        for name, layer in self._named.items():
            if isinstance(layer, NonLocalBlock):
                found |= {f"{name}.{part}": w for part, w in layer.export_weights().items()}
                continue
            for variable in layer.variables:
                # a tensor, because NumPy warns where Keras hands it a TensorFlow variable
                value = ops.convert_to_numpy(ops.stop_gradient(variable.value))
                found[f"{name}.{_part(layer, variable)}"] = _from_keras(value)
        return found

    def import_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace every weight by the array of its name.

        Raises
        ------
        TypeError, ValueError
            A missing, extra or misshapen weight, by name.
        """
        check_network_weights(self.spec, weights)
        for name, layer in self._named.items():
            if isinstance(layer, NonLocalBlock):
                prefix = f"{name}."
                own = {n: w for n, w in weights.items() if n.startswith(prefix)}
                layer.import_weights({n.removeprefix(prefix): w for n, w in own.items()})
                continue
            for variable in layer.variables:
                value = np.asarray(weights[f"{name}.{_part(layer, variable)}"])
                variable.assign(_to_keras(value))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, in types that JSON has, but for tuples."""
        spec = {f.name: getattr(self.spec, f.name) for f in fields(self.spec)}
        return {
            "spec": {**spec, "block": dict(self.spec.block)},
            "positions": self.positions,
            "identity": self.identity,
            "data_format": self.data_format,
            "dtype": keras.dtype_policies.serialize(self._policy),
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Network:
        """The network of `get_config`, with new weights."""
        return cls(
            NetworkSpec(**config["spec"]), **{k: v for k, v in config.items() if k != "spec"}
        )


@keras.saving.register_keras_serializable(package="nlcore")
class MaxPool(layers.Layer):
    """Max-pooling of x (B, T, H, W, C) over (T, H, W), for x >= 0: it is padded with 0.

    Parameters
    ----------
    kernel, stride, padding : (T, H, W)
    data_format : {"channels_last", "channels_first"}
        With "channels_first", x (B, C, T, H, W).

    Notes
    -----
    Pools over space, then over time: TensorFlow's pooling in three dimensions has no float64.
    """

    def __init__(
        self,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        *,
        data_format: str = "channels_last",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel, self.stride, self.padding = tuple(kernel), tuple(stride), tuple(padding)
        self.data_format = checked_data_format(data_format)

    def call(self, x: Any) -> Any:
        """(B, T, H, W, C) -> (B, T', H', W', C)."""
        if self.data_format == "channels_first":
            x = ops.moveaxis(x, 1, -1)  # (B, T, H, W, C)
        x = ops.pad(x, [(0, 0), *((p, p) for p in self.padding), (0, 0)])
        batch, frames, *pixels = ops.shape(x)
        images = ops.reshape(x, (-1, *pixels))  # (B T, H, W, C)
        images = ops.max_pool(
            images, self.kernel[1:], self.stride[1:], "valid", "channels_last"
        )  # (B T, H', W', C)
        x = ops.reshape(images, (batch, frames, *ops.shape(images)[1:]))
        stride = self.stride[0]
        end = (frames - self.kernel[0]) // stride * stride + 1  # past the last window's first frame
        best = x[:, :end:stride]  # (B, T', H', W', C)
        for k in range(1, self.kernel[0]):
            best = ops.maximum(best, x[:, k : k + end : stride])
        return ops.moveaxis(best, -1, 1) if self.data_format == "channels_first" else best

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        first = 1 if self.data_format == "channels_last" else 2  # axis of T
        sizes = list(shape)
        for axis, (k, s, p) in enumerate(
            zip(self.kernel, self.stride, self.padding, strict=True), first
        ):
            n = sizes[axis]
            sizes[axis] = None if n is None else (n + 2 * p - k) // s + 1
        return tuple(sizes)

    def get_config(self) -> dict[str, Any]:
        names = ("kernel", "stride", "padding", "data_format")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class _Builder:
    """Calls layers one after the other, and stores those with weights by nlcore's names."""

    def __init__(self, identity: bool, data_format: str, dtype: Any) -> None:
        self.identity = identity
        self.named: dict[str, Any] = {}
        self.axis = -1 if data_format == "channels_last" else 1
        self.options = {"data_format": data_format, "dtype": dtype}
        self.dtype = dtype

    def logits(self, spec: NetworkSpec, x: Any) -> Any:
        """(B, classes) of clips (B, T, H, W, 3)."""
        conv1, pool1 = spec.stem
        x = self.pool(pool1, self.relu(self.conv(conv1, x)))
        for number, stage in enumerate(spec.stages):
            if number == 1:
                x = self.pool(spec.pool2, x)
            for residual in stage:
                x = self.residual(residual, x)
        x = layers.GlobalAveragePooling3D(**self.options)(x)  # (B, features)
        x = layers.Dropout(spec.dropout, dtype=self.dtype)(x)
        normal = keras.initializers.RandomNormal(stddev=FC_STD)
        fc = layers.Dense(spec.classes, kernel_initializer=normal, dtype=self.dtype, name="fc")
        return self.keep("fc", fc)(x)

    def residual(self, residual: Residual, x: Any) -> Any:
        """The residual block, and the non-local block after it, if any."""
        first, second, third = residual.convs
        y = self.relu(self.conv(first, x))
        y = self.relu(self.conv(second, y))
        y = self.conv(third, y)
        shortcut = x if residual.shortcut is None else self.conv(residual.shortcut, x)
        y = self.relu(layers.Add(dtype=self.dtype)([y, shortcut]))
        if residual.non_local is None:
            return y
        name = f"{residual.name}.non_local"
        given = residual.non_local.arguments()
        del given["channels"]  # which the layer takes from y
        block = NonLocalBlock(identity=self.identity, name=_keras(name), **given, **self.options)
        return self.keep(name, block)(y)

    def conv(self, conv: Conv, x: Any) -> Any:
        """The convolution and its batch normalization."""
        he = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        layer = layers.Conv3D(
            conv.outputs,
            conv.kernel,
            conv.stride,
            use_bias=False,
            kernel_initializer=he,
            name=_keras(conv.name),
            **self.options,
        )
        norm = layers.BatchNormalization(
            self.axis, 0.9, BN_EPS, name=_keras(conv.norm), dtype=self.dtype
        )
        x = self.keep(conv.name, layer)(self.padded(conv.padding, x))
        return self.keep(conv.norm, norm)(x)

    def pool(self, pool: Pool, x: Any) -> Any:
        return MaxPool(pool.kernel, pool.stride, pool.padding, name=pool.name, **self.options)(x)

    def padded(self, padding: Sizes, x: Any) -> Any:
        return layers.ZeroPadding3D(padding, **self.options)(x) if any(padding) else x

    def relu(self, x: Any) -> Any:
        return layers.ReLU(dtype=self.dtype)(x)

    def keep(self, name: str, layer: Any) -> Any:
        self.named[name] = layer
        return layer


def _keras(name: str) -> str:
    """A layer's name from nlcore's: the PyTorch engine refuses dots."""
    return name.replace(".", "_")


def _part(layer: Any, variable: Any) -> str:
    """nlcore's name of a layer's variable, without the layer's."""
    if isinstance(layer, layers.BatchNormalization):
        return NORM[variable.name]
    return {"kernel": "weight", "bias": "bias"}[variable.name]


def _from_keras(value: np.ndarray) -> np.ndarray:
    """Of (T, H, W, inputs, outputs) or (inputs, outputs), with the outputs first."""
    return value.transpose(4, 3, 0, 1, 2) if value.ndim == 5 else value.T


def _to_keras(value: np.ndarray) -> np.ndarray:
    """The inverse of `_from_keras`."""
    if value.ndim == 5:
        return value.transpose(2, 3, 4, 1, 0)
    return value.T
