"""The non-local block as a Keras layer, for every engine that Keras runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from nlcore import NonLocalSpec, check_input, check_weights, weight_shapes
from nlcore.weights import RUNNING, init_std, starts_constant
from nlcore_keras.operation.precision import float_name, sum_dtype
from nlcore_keras.operation.stages import batch_norm, moments, response

DATA_FORMATS = ("channels_last", "channels_first")


@keras.saving.register_keras_serializable(package="nlcore")
class NonLocalBlock(keras.layers.Layer):
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j).

    x and z have shape (B, *positions, C), or (B, C, *positions) with data_format
    "channels_first"; every size but C may be None. C comes from the first input.

    Parameters
    ----------
    inner_channels, ndim, pairwise, normalization, scale, subsample, subsample_at, extent, window,
    bias, pair_bias, batch_norm, eps
        Fields of `nlcore.NonLocalSpec`.
    init : {"he", "normal"}
        What the weights are drawn from, see `nlcore.weights.init_std`; seeded by
        keras.utils.set_random_seed.
    identity : bool
        Start as z = x: BN's weight is 0, or without BN W_z and its bias are.
    momentum : float in [0, 1]
        Keras' convention: running = momentum * running + (1 - momentum) * batch. 0.9 is
        PyTorch's 0.1.
    data_format : {"channels_last", "channels_first"}, optional
        Default keras.config.image_data_format().
    **kwargs
        Of keras.layers.Layer: name, dtype, trainable, ...

    Attributes
    ----------
    spec : NonLocalSpec, once the layer is built.

    Raises
    ------
    TypeError, ValueError
        On construction for fields that do not fit, on a call for an input that does not fit, see
        `nlcore.NonLocalSpec` and `nlcore.check_input`.

    Notes
    -----
    With training=True and `trainable` set, BN takes the batch's mean and biased variance over B
    and all positions, and the running variance the unbiased one; otherwise BN takes the running
    statistics. With a half-precision dtype or a mixed policy, the embeddings and W_z multiply in
    the compute dtype; what lies between, batch statistics and normalization are float32.

    Source: arXiv 1711.07971, Eq. 6 and Sec. 3.3, 4.1.
    """

    def __init__(
        self,
        *,
        inner_channels: int | None = None,
        ndim: int = 3,
        pairwise: str = "embedded_gaussian",
        normalization: str | None = None,
        scale: float = 1.0,
        subsample: tuple[int, ...] | None = None,
        subsample_at: str = "embedding",
        extent: str = "all",
        window: int | None = None,
        bias: bool = False,
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
        self._fields: dict[str, Any] = {
            "inner_channels": inner_channels,
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
        any_channels = NonLocalSpec(2, **self._fields)  # C is not known yet: raises for the rest
        init_std(any_channels, "out.weight", init)
        if not isinstance(identity, bool):
            raise TypeError(f"identity must be a bool; received {identity!r}")
        if not isinstance(momentum, (int, float)) or isinstance(momentum, bool):
            raise TypeError(f"momentum must be a float in [0, 1]; received {momentum!r}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be a float in [0, 1]; received {momentum!r}")
        data_format = data_format or keras.config.image_data_format()
        if data_format not in DATA_FORMATS:
            raise ValueError(f"data_format must be one of {DATA_FORMATS}; received {data_format!r}")
        self.init = init
        self.identity = identity
        self.momentum = momentum
        self.data_format = data_format
        self.spec: NonLocalSpec | None = None
        self._named: dict[str, Any] = {}

    @classmethod
    def from_spec(cls, spec: NonLocalSpec, **kwargs: Any) -> NonLocalBlock:
        """The built layer of a spec; kwargs are the arguments that are no field of it."""
        fields = spec.arguments()
        channels = fields.pop("channels")
        layer = cls(**fields, **kwargs)
        unknown = (None,) * spec.ndim
        last = layer.data_format == "channels_last"
        layer.build((None, *unknown, channels) if last else (None, channels, *unknown))
        layer.spec = spec  # equal, and it knows its dialect
        return layer

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # here rather than in call, which a symbolic input never reaches
        float_name("x", inputs)
        return super().__call__(inputs, *args, **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = self._channels(input_shape)
        if channels is None:
            raise ValueError(
                f"the number of channels must be known ({self.data_format}); "
                f"received shape {tuple(input_shape)}"
            )
        spec = NonLocalSpec(channels, **self._fields)
        check_input(spec, input_shape, "float32", self.data_format == "channels_last")
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
        assert self.spec is not None
        constant = starts_constant(self.spec, name, self.identity)
        if constant is not None:
            return keras.initializers.Constant(constant)
        return keras.initializers.RandomNormal(stddev=init_std(self.spec, name, self.init))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        assert self.spec is not None
        last = self.data_format == "channels_last"
        check_input(self.spec, tuple(inputs.shape), float_name("x", inputs), last)
        weights = {
            name: ops.cast(weight, self.compute_dtype)
            for name, weight in self._named.items()
            if not name.startswith("bn.")
        }
        x = ops.cast(inputs, self.compute_dtype)
        if self.data_format == "channels_first":
            x = ops.moveaxis(x, 1, -1)  # (B, *positions, C)
        out = response(self.spec, weights, x)  # (B, *positions, C)
        if self.spec.batch_norm:
            dtype = sum_dtype(x.dtype)
            normalized = self._batch_norm(ops.cast(out, dtype), bool(training))
            z = ops.cast(normalized + ops.cast(x, dtype), x.dtype)
        else:
            z = out + x
        return ops.moveaxis(z, -1, 1) if self.data_format == "channels_first" else z

    def _batch_norm(self, out: Any, training: bool) -> Any:
        """out (B, *positions, C) normalized; the running statistics follow while training."""
        assert self.spec is not None
        weight, bias, running_mean, running_var = (
            ops.cast(self._named[f"bn.{name}"], out.dtype)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        if not (training and self.trainable):
            return batch_norm(out, running_mean, running_var, weight, bias, self.spec.eps)
        mean, variance, count = moments(out)
        unbiased = variance * (count / ops.where(count > 1, count - 1, count))  # (C,)
        for name, old, new in (
            ("bn.running_mean", running_mean, mean),
            ("bn.running_var", running_var, unbiased),
        ):
            value = self.momentum * old + (1 - self.momentum) * ops.stop_gradient(new)
            self._named[name].assign(ops.cast(value, self._named[name].dtype))
        return batch_norm(out, mean, variance, weight, bias, self.spec.eps)

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
        """The weights by name, as `nlcore.weight_shapes` names and shapes them.

        Raises
        ------
        ValueError
            The layer is not built.
        """
        self._require_built()
        # a tensor, since NumPy warns where Keras hands it a TensorFlow variable
        tensors = {name: ops.stop_gradient(v.value) for name, v in self._named.items()}
        return {name: ops.convert_to_numpy(tensor) for name, tensor in tensors.items()}

    def import_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace every weight by `weights[name]`, see `nlcore.check_weights`.

        Raises
        ------
        ValueError
            The layer is not built, or a weight is missing, extra or misshapen.
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
        return {
            **super().get_config(),
            **self._fields,
            "init": self.init,
            "identity": self.identity,
            "momentum": self.momentum,
            "data_format": self.data_format,
        }
