"""Layers of the video networks: batch normalization, convolution, max-pooling, the head's means."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras
from keras import layers, ops

from nlcore.video.network_layers import windows
from nlcore_keras.batch_norm import batch_norm, moments, update_running
from nlcore_keras.operation.arguments import checked_data_format
from nlcore_keras.operation.precision import sum_dtype


@keras.saving.register_keras_serializable(package="nlcore")
class BatchNorm(layers.BatchNormalization):
    """Keras' batch normalization, with running statistics as PyTorch has them.

    The running variance takes the unbiased variance of a batch. float64 is computed in float64,
    which Keras' own layer does in float32 on JAX and on PyTorch.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Normalized inputs (B, *positions, C), or (B, C, *positions) with axis 1."""
        x = ops.cast(inputs, sum_dtype(inputs.dtype))
        if training and self.trainable:
            batch = moments(ops.moveaxis(x, self.axis, -1))
            update_running(self, batch, self.moving_mean, self.moving_variance, self.momentum)
            mean, variance = batch.mean, batch.variance
        else:
            mean, variance = self.moving_mean, self.moving_variance
        shape = [1] * len(x.shape)
        shape[self.axis] = -1
        scale, shift, mean, variance = (
            ops.reshape(ops.cast(value, x.dtype), shape)
            for value in (self.gamma, self.beta, mean, variance)
        )
        z = batch_norm(x, scale, shift, mean, variance, self.epsilon)
        return ops.cast(z, self.compute_dtype)


@keras.saving.register_keras_serializable(package="nlcore")
class Conv3D(layers.Conv3D):
    """Keras' Conv3D without padding, which is faster for clips (B, T, H, W, C) that XLA compiles.

    A kernel 1 x 1 x 1 is a matrix product, a kernel 1 x k x k a convolution of frames, and a kernel
    k x 1 x 1 one of images of T x (H W) pixels. For other kernels, the frames of each window are
    put into one frame with more channels. On CPUs, XLA computes the gradients of its own
    three-dimensional convolution up to 150 times slower. Clips (B, C, T, H, W) are left to it.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """(B, T, H, W, C), (k, l, m, C, C') -> (B, T', H', W', C')."""
        plain = (self.padding, self.groups, set(self.dilation_rate)) == ("valid", 1, {1})
        if self.data_format != "channels_last" or not plain:
            return super().convolution_op(inputs, kernel)
        kt, *size = self.kernel_size
        st, *stride = self.strides
        if size == stride == [1, 1] and kt > 1:
            batch, frames, height, width, channels = ops.shape(inputs)
            images = ops.reshape(inputs, (batch, frames, height * width, channels))
            y = _conv(images, kernel[:, 0], (st, 1))  # (B, T', H W, C')
            return ops.reshape(y, (batch, ops.shape(y)[1], height, width, self.filters))
        # (k, l, m, C, C') -> (l, m, k C, C')
        flat = ops.reshape(ops.moveaxis(kernel, 0, 2), (*size, -1, self.filters))
        frames = _windows(inputs, kt, st)
        x = frames[0] if kt == 1 else ops.concatenate(frames, -1)  # (B, T', H, W, k C)
        if size == [1, 1]:
            x = x[:, :, :: stride[0], :: stride[1]]  # (B, T', H', W', k C)
            rows = ops.reshape(x, (-1, ops.shape(x)[-1]))  # XLA is slow with more axes
            return ops.reshape(rows @ flat[0, 0], (*ops.shape(x)[:-1], self.filters))
        batch, count, *image = ops.shape(x)
        y = _conv(ops.reshape(x, (-1, *image)), flat, tuple(stride))  # (B T', H', W', C')
        return ops.reshape(y, (batch, count, *ops.shape(y)[1:]))


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
        # not keras.ops.maximum, which rounds float64 to float32 on PyTorch
        best = ops.max(ops.stack(_windows(x, self.kernel[0], self.stride[0])), 0)  # (B, T', ...)
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


@keras.saving.register_keras_serializable(package="nlcore")
class Mean(layers.Layer):
    """The mean of x over all axes but the batch's and the channels': (B, ..., C) -> (B, C).

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        With "channels_first", x (B, C, ...). The result is the same.

    Notes
    -----
    Keras' own layers compute means of float64 in float32 on JAX and on PyTorch.
    """

    def __init__(self, *, data_format: str = "channels_last", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = checked_data_format(data_format)

    def call(self, x: Any) -> Any:
        """(B, ..., C) -> (B, C)."""
        first = 1 if self.data_format == "channels_last" else 2
        return mean_over(x, tuple(range(first, first + len(x.shape) - 2)))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], shape[-1] if self.data_format == "channels_last" else shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


@keras.saving.register_keras_serializable(package="nlcore")
class WindowMean(layers.Layer):
    """x (B, T, H, W, C) -> (B, H', W', C): means over all frames and each window, with stride 1.

    Parameters
    ----------
    side : int
        Height and width of a window.
    data_format : {"channels_last", "channels_first"}
        With "channels_first", x (B, C, T, H, W). The result is the same.
    """

    def __init__(self, side: int, *, data_format: str = "channels_last", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side, self.data_format = side, checked_data_format(data_format)

    def call(self, x: Any) -> Any:
        """(B, T, H, W, C) -> (B, H', W', C)."""
        if self.data_format == "channels_first":
            x = ops.moveaxis(x, 1, -1)  # (B, T, H, W, C)
        self._pixels(*x.shape[2:4])  # raises for a small x
        x = mean_over(x, (1,))  # (B, H, W, C)
        return ops.average_pool(x, self.side, 1, "valid", "channels_last")

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        first = self.data_format == "channels_first"
        height, width, channels = (*shape[3:], shape[1]) if first else shape[2:]
        return (shape[0], *self._pixels(height, width), channels)

    def _pixels(self, height: int | None, width: int | None) -> list[int | None]:
        """H' and W' of H and W, each of which may be None."""
        counts = windows(self.side, *(self.side if n is None else n for n in (height, width)))
        return [
            None if n is None else count for n, count in zip((height, width), counts, strict=True)
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "side": self.side, "data_format": self.data_format}


def mean_over(x: Any, axes: tuple[int, ...]) -> Any:
    """The mean over axes, added in float32 for half precisions."""
    dtype = sum_dtype(x.dtype)
    count = ops.cast(prod(ops.shape(x)[axis] for axis in axes), dtype)
    return ops.cast(ops.sum(ops.cast(x, dtype), axes) / count, x.dtype)


def _windows(x: Any, kernel: int, stride: int) -> list[Any]:
    """The first frames of all windows over time, the second ones and so on: (B, T', H, W, C)."""
    end = (ops.shape(x)[1] - kernel) // stride * stride + 1  # past the last window's first frame
    return [x[:, first : first + end : stride] for first in range(kernel)]


def _conv(images: Any, kernel: Any, stride: tuple[int, int]) -> Any:
    return ops.conv(images, kernel, stride, "valid", "channels_last")
