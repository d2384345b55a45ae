"""NonLocalBlock: the block as a Keras layer, for every engine that Keras runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from nlcore import NonLocalSpec, check_input, check_weights, weight_shapes
from nlcore.arguments import check_float
from nlcore.weights import RUNNING, check_options, init_std, starts_constant
from nlcore_keras.batch_norm import update_running
from nlcore_keras.functional import block_and_moments
from nlcore_keras.operation.arguments import check_tensor, checked_data_format, dtype_name


@keras.saving.register_keras_serializable(package="nlcore")
class NonLocalBlock(keras.layers.Layer):
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j), for 1, 2 or 3 axes.

    Takes and returns (B, *positions, C), or (B, C, *positions) with data_format "channels_first",
    positions being (T,), (H, W) or (T, H, W). Every size but C may be None. C comes from the first
    input.

    Parameters
    ----------
    inner_channels, value_channels, ndim, pairwise, normalization, scale, subsample, subsample_at
    extent, window, bias, pair_bias, batch_norm, eps
        The fields of `nlcore.NonLocalSpec`, which defines each.
    init : {"he", "he_fan_out", "normal"}
        Random weights are normal, with standard deviation sqrt(2 / fan_in), sqrt(2 / fan_out) or
        0.01. keras.utils.set_random_seed seeds them.
    identity : bool
        Start as the identity, z = x: batch normalization's weight is 0, or without batch
        normalization W_z and its bias are.
    momentum : float in [0, 1]
        Keras' convention: running = momentum * running + (1 - momentum) * batch. 0.9 is
        PyTorch's 0.1.
    data_format : {"channels_last", "channels_first"}, optional
        Default keras.config.image_data_format().
    **kwargs
        Of keras.layers.Layer: name, dtype, trainable, ...

    Attributes
    ----------
    spec : NonLocalSpec or None
        None until the layer is built.

    Raises
    ------
    TypeError, ValueError
        On construction, for a wrong field. When called, for an x that does not fit the spec.

    Notes
    -----
    With training=True and `trainable` set, batch normalization uses the batch's statistics and
    updates the running ones (the variance unbiased). In all other calls it uses the running ones.
    With a half-precision dtype or a mixed policy, the embeddings and W_z multiply in the compute
    dtype; precision is as in `non_local_block`.

    Source: arXiv 1711.07971, Eq. 6 and Sec. 3.3, 4.1.

    Examples
    --------
    >>> block = NonLocalBlock(pairwise="dot_product", subsample=(1, 2, 2))
    >>> x = keras.random.normal((2, 4, 14, 14, 64))  # (B, T, H, W, C)
    >>> z = block(x)  # a new block is the identity: z equals x
    """

    def __init__(
        self,
        *,
        inner_channels: int | None = None,
        value_channels: int | None = None,
        ndim: int = 3,
        pairwise: str = "embedded_gaussian",
        normalization: str | None = None,
        scale: float = 1.0,
        subsample: Sequence[int] | None = None,
        subsample_at: str = "embedding",
        extent: str = "all",
        window: int | None = None,
        bias: bool | str = False,
        pair_bias: bool = False,
        batch_norm: bool = True,
        eps: float = 1e-5,
        init: str = "he",
        identity: bool = True,
        momentum: float = 0.9,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_options(init, identity, momentum)
        fields: dict[str, Any] = {
            "inner_channels": inner_channels,
            "value_channels": value_channels,
            "ndim": ndim,
            "pairwise": pairwise,
            "normalization": normalization,
            "scale": scale,
            "subsample": subsample,
            "subsample_at": subsample_at,
            "extent": extent,
            "window": window,
            "bias": bias,
            "pair_bias": pair_bias,
            "batch_norm": batch_norm,
            "eps": eps,
        }
        any_channels = NonLocalSpec(2, **fields)  # C is not known yet; raises for other fields
        # lists have become tuples; what depends on C stays None
        self._fields: dict[str, Any] = {
            name: None if value is None else getattr(any_channels, name)
            for name, value in fields.items()
        }
        self.init, self.identity, self.momentum = init, identity, momentum
        self.data_format = checked_data_format(data_format)
        self.spec: NonLocalSpec | None = None
        self._named: dict[str, Any] = {}

    @classmethod
    def from_spec(cls, spec: NonLocalSpec, **kwargs: Any) -> NonLocalBlock:
        """The built layer of this spec; kwargs are the arguments that are no field of it."""
        fields = spec.arguments()
        channels = fields.pop("channels")
        layer = cls(**fields, **kwargs)
        unknown = (None,) * spec.ndim
        last = layer.data_format == "channels_last"
        layer.build((None, *unknown, channels) if last else (None, channels, *unknown))
        layer.spec = spec  # equal, and it knows its dialect
        return layer

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # here rather than in call: Keras casts integers before it, and it sees no symbolic input
        check_float("x", dtype_name("x", inputs))
        return super().__call__(inputs, *args, **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = self._channels(input_shape)
        if channels is None:
            raise ValueError(
                f"the number of channels must be known ({self.data_format}); "
                f"received shape {tuple(input_shape)}"
            )
        spec = NonLocalSpec(channels, **self._fields)
        check_input(spec, (None, *input_shape[1:]), "float32", self.data_format == "channels_last")
        self.spec = spec
        for name, shape in weight_shapes(spec).items():
            self._named[name] = self.add_weight(
                shape=shape,
                initializer=self._initializer(name),
                trainable=name not in RUNNING,
                autocast=not name.startswith("bn."),
                name=name.replace(".", "_"),  # the PyTorch engine refuses dots
            )

    def _initializer(self, name: str) -> Callable[..., Any]:
        spec = self._require_built()
        constant = starts_constant(spec, name, self.identity)
        if constant is not None:
            return keras.initializers.Constant(constant)
        return keras.initializers.RandomNormal(stddev=init_std(spec, name, self.init))

    def named_weights(self) -> dict[str, Any]:
        """The weights by name, as the block computes with them.

        All but batch normalization's are in the compute dtype.
        """
        self._require_built()
        return {
            name: weight if name.startswith("bn.") else ops.cast(weight, self.compute_dtype)
            for name, weight in self._named.items()
        }

    def named_variables(self) -> dict[str, Any]:
        """The variables by name."""
        self._require_built()
        return dict(self._named)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """z from x, both (B, *positions, C) or (B, C, *positions)."""
        spec = self._require_built()
        check_tensor(spec, inputs, self.data_format)
        weights, x = self.named_weights(), ops.cast(inputs, self.compute_dtype)
        by_batch = bool(training) and self.trainable
        z, batch = block_and_moments(spec, weights, x, by_batch, self.data_format)
        if batch is not None:
            mean, variance = self._named["bn.running_mean"], self._named["bn.running_var"]
            update_running(self, batch, mean, variance, self.momentum)
        return z

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        spec = self.spec or NonLocalSpec(self._channels(input_shape) or 1, **self._fields)
        check_input(spec, tuple(input_shape), "float32", self.data_format == "channels_last")
        return tuple(input_shape)

    def _channels(self, shape: tuple[int | None, ...]) -> int | None:
        """C of an input's shape, its number of axes checked."""
        ndim = self._fields["ndim"]
        if len(shape) != ndim + 2:
            raise ValueError(
                f"x must have {ndim + 2} axes with ndim={ndim}, {self.data_format}; "
                f"received shape {tuple(shape)}"
            )
        return shape[-1] if self.data_format == "channels_last" else shape[1]

    def export_weights(self) -> dict[str, np.ndarray]:
        """The weights by name as NumPy arrays, as `nlcore.weight_shapes` has them.

        Raises
        ------
        ValueError
            The layer is not built.
        """
        self._require_built()
        # tensors, because NumPy warns where Keras hands it a TensorFlow variable
        tensors = {name: ops.stop_gradient(v.value) for name, v in self._named.items()}
        return {name: ops.convert_to_numpy(tensor) for name, tensor in tensors.items()}

    def import_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace every weight by the array or tensor of its name, in the layer's dtype.

        Raises
        ------
        TypeError, ValueError
            The layer is not built, or see `nlcore.check_weights`.
        """
        check_weights(self._require_built(), weights)
        for name, weight in self._named.items():
            weight.assign(weights[name])

    def _require_built(self) -> NonLocalSpec:
        if self.spec is None:
            raise ValueError(
                "the layer has no weights yet: build it, or call it on an input, first; "
                f"received layer {self.name!r}"
            )
        return self.spec

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, in types that JSON has, but for tuples."""
        return {
            **super().get_config(),
            **self._fields,
            "init": self.init,
            "identity": self.identity,
            "momentum": self.momentum,
            "data_format": self.data_format,
        }
