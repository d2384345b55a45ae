"""Pooling layers of the video networks: max-pooling, and the windows of the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from nlcore.video.network_layers import windows
from nlcore_keras.operation.arguments import checked_data_format


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
        x = ops.mean(x, 1)  # (B, H, W, C)
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
