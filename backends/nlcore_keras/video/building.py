"""The graph of a video network in Keras: layers that are called one after the other."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from nlcore.video import NetworkSpec
from nlcore.video.network_layers import BN_EPS, FC_STD, Conv, Pool, Residual, Sizes
from nlcore_keras.block import NonLocalBlock
from nlcore_keras.video.network_layers import BatchNorm, Conv3D, MaxPool, Mean, WindowMean


class Builder:
    """Calls layers one after the other, and stores those with weights by nlcore's names."""

    def __init__(self, identity: bool, data_format: str, dtype: Any) -> None:
        self.identity = identity
        self.named: dict[str, Any] = {}
        self.axis = -1 if data_format == "channels_last" else 1
        self.options = {"data_format": data_format, "dtype": dtype}
        self.dtype = dtype

    def window_logits(self, spec: NetworkSpec, x: Any) -> Any:
        """Logits of every window, (B, H', W', classes), of clips (B, T, H, W, 3).

        For the head "mean", (B, classes).
        """
        conv1, pool1 = spec.stem
        x = self.pool(pool1, self.relu(self.conv(conv1, x)))
        for number, stage in enumerate(spec.stages):
            if number == 1:
                x = self.pool(spec.pool2, x)
            for residual in stage:
                x = self.residual(residual, x)
        if spec.head == "mean":
            x = Mean(**self.options)(x)  # (B, features)
        else:
            x = WindowMean(spec.head_window, **self.options)(x)  # (B, H', W', features)
        x = layers.Dropout(spec.dropout, dtype=self.dtype)(x)
        normal = keras.initializers.RandomNormal(stddev=FC_STD)
        fc = layers.EinsumDense(  # Keras' Dense rounds float64 to float32 on PyTorch
            "...i,io->...o",
            spec.classes,
            bias_axes="o",
            kernel_initializer=normal,
            dtype=self.dtype,
            name="fc",
        )
        return self.keep("fc", fc)(x)

    def mean(self, logits: Any) -> Any:
        """The mean over windows, (B, classes)."""
        if len(logits.shape) == 2:
            return logits
        return Mean(dtype=self.dtype)(logits)

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
        layer = Conv3D(
            conv.outputs,
            conv.kernel,
            conv.stride,
            use_bias=False,
            kernel_initializer=he,
            name=_keras(conv.name),
            **self.options,
        )
        norm = BatchNorm(self.axis, 0.9, BN_EPS, name=_keras(conv.norm), dtype=self.dtype)
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
