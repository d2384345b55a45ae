"""The paper's networks for video, from `nlcore.video`, as one Keras model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from nlcore.video import Imported, NetworkSpec
from nlcore.video.network_layers import check_activation
from nlcore.video.network_weights import selected_weights
from nlcore.video.running.run_folder import load_run
from nlcore_keras.block import NonLocalBlock
from nlcore_keras.operation.arguments import checked_data_format
from nlcore_keras.video.building import Builder
from nlcore_keras.video.network_layers import mean_over

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
    one file serves this and `nlcore_torch.video.Network`. In training, running variances take the
    unbiased variance of the batch, as PyTorch's do.

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
        build = Builder(identity, data_format, policy)
        last = data_format == "channels_last"
        size = (*positions, 3) if last else (3, *positions)
        clips = keras.Input(size, dtype=policy.variable_dtype)
        by_window = build.window_logits(spec, clips)
        super().__init__(clips, build.mean(by_window), **kwargs)
        self.spec, self.positions, self.identity = spec, tuple(positions), identity
        self.data_format, self._named, self._policy = data_format, build.named, policy
        self._by_window = by_window

    @cached_property  # not an attribute, because Keras would save it as a part of the network
    def window_logits(self) -> keras.Model:
        """The model of the logits of every window, (B, H', W', classes), with the same layers.

        For the head "mean", (B, classes).
        """
        return keras.Model(self.input, self._by_window)

    def scores(self, x: Any, activation: str = "softmax", training: bool = False) -> Any:
        """Scores (B, classes) of clips: the activation of the logits.

        With ``spec.head = "windows"``, it is the mean of the activations of the windows' logits.
        Scores of half precision logits are computed in float32.

        Parameters
        ----------
        x : tensor
            Clips, as in a call.
        activation : {"softmax", "sigmoid"}
        training : bool
            As in a call.

        Raises
        ------
        ValueError
            The activation is unknown, or a window of the head does not fit.
        """
        check_activation(activation)
        windows = self.spec.head == "windows"
        logits = (self.window_logits if windows else self)(x, training=training)
        if keras.backend.standardize_dtype(logits.dtype) != "float64":
            logits = ops.cast(logits, "float32")
        scores = ops.sigmoid(logits) if activation == "sigmoid" else ops.softmax(logits, -1)
        return mean_over(scores, (1, 2)) if windows else scores

    def named_variables(self) -> dict[str, Any]:
        """Every weight's variable by its name, shaped as `from_keras` takes it."""
        found: dict[str, Any] = {}
        for name, layer in self._named.items():
            if isinstance(layer, NonLocalBlock):
                own = layer.named_variables()
            else:
                own = {_part(layer, variable): variable for variable in layer.variables}
            found |= {f"{name}.{part}": variable for part, variable in own.items()}
        return found

    def named_norms(self) -> dict[str, Any]:
        """The layers with batch normalization, by the name before ".weight" of its scale."""
        found = {}
        for name, layer in self._named.items():
            if isinstance(layer, layers.BatchNormalization):
                found[name] = layer
            elif isinstance(layer, NonLocalBlock) and "bn.weight" in layer.named_variables():
                found[f"{name}.bn"] = layer
        return found

    @classmethod
    def from_run(cls, path: Path | str, **options: Any) -> Network:
        """The trained network of a run's newest checkpoint, or of a checkpoint.

        Parameters
        ----------
        path : path
            Of the folder of a run, or of one of its `checkpoints`. Either framework may have
            trained it. A damaged checkpoint of a run is skipped with a warning.
        **options
            Of the constructor: positions, data_format, dtype.

        Raises
        ------
        ValueError
            There is no whole checkpoint.

        Examples
        --------
        >>> network = Network.from_run("runs/mine")  # doctest: +SKIP
        """
        found = load_run(path, warnings.warn)
        network = cls(found.recipe.network, **options)
        network.import_weights(found.state.weights)
        return network

    def export_weights(self) -> dict[str, np.ndarray]:
        """The weights by name as NumPy arrays, as `nlcore.video.network_weight_shapes` has them."""
        # a tensor, because NumPy warns where Keras hands it a TensorFlow variable
        return {
            name: from_keras(name, ops.convert_to_numpy(ops.stop_gradient(variable.value)))
            for name, variable in self.named_variables().items()
        }

    def import_weights(self, weights: Mapping[str, Any], *, partial: bool = False) -> Imported:
        """Replace every weight by the array of its name.

        Parameters
        ----------
        weights : mapping of str to array
        partial : bool
            Whether weights may be missing, which keep their values, and left over. If False, this
            is an error. An fc with another number of classes is both.

        Returns
        -------
        nlcore.video.Imported
            The names that were missing or left over.

        Raises
        ------
        TypeError, ValueError
            See `nlcore.video.check_network_weights`. With `partial`: a weight has the wrong shape,
            or no name is the network's.
        """
        chosen, report = selected_weights(self.spec, weights, partial)
        for name, variable in self.named_variables().items():
            if name in chosen:
                variable.assign(to_keras(name, np.asarray(chosen[name])))
        return report

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


def _part(layer: Any, variable: Any) -> str:
    """nlcore's name of a layer's variable, without the layer's."""
    if isinstance(layer, layers.BatchNormalization):
        return NORM[variable.name]
    return {"kernel": "weight", "bias": "bias"}[variable.name]


def from_keras(name: str, value: np.ndarray) -> np.ndarray:
    """A weight as nlcore has it, with the outputs first.

    Keras has (T, H, W, inputs, outputs) or (inputs, outputs). Blocks have nlcore's own shapes.
    """
    if ".non_local." in name:
        return value
    return value.transpose(4, 3, 0, 1, 2) if value.ndim == 5 else value.T


def to_keras(name: str, value: np.ndarray) -> np.ndarray:
    """The inverse of `from_keras`."""
    if ".non_local." in name:
        return value
    return value.transpose(2, 3, 4, 1, 0) if value.ndim == 5 else value.T
