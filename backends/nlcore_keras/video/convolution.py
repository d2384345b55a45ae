"""Convolutions of clips, which are computed as convolutions of images."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


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
        if self.data_format != "channels_last" or self.padding != "valid":
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
        x = _windows(inputs, kt, st)  # (B, T', H, W, k C)
        if size == [1, 1]:
            x = x[:, :, :: stride[0], :: stride[1]]  # (B, T', H', W', k C)
            rows = ops.reshape(x, (-1, ops.shape(x)[-1]))  # XLA is slow with more axes
            return ops.reshape(rows @ flat[0, 0], (*ops.shape(x)[:-1], self.filters))
        batch, frames, *image = ops.shape(x)
        y = _conv(ops.reshape(x, (-1, *image)), flat, tuple(stride))  # (B T', H', W', C')
        return ops.reshape(y, (batch, frames, *ops.shape(y)[1:]))


def _windows(x: Any, kernel: int, stride: int) -> Any:
    """The frames of every window over time as channels of one frame, (B, T', H, W, k C)."""
    if (kernel, stride) == (1, 1):
        return x
    end = (ops.shape(x)[1] - kernel) // stride * stride + 1  # past the last window's first frame
    frames = [x[:, first : first + end : stride] for first in range(kernel)]
    return ops.concatenate(frames, -1)


def _conv(images: Any, kernel: Any, stride: tuple[int, int]) -> Any:
    return ops.conv(images, kernel, stride, "valid", "channels_last")
