"""A block of another package, wrapped as a backend of the conformance suite.

The adapters for PyTorch modules and for Keras layers share what is here: what the block supports,
which of its parameters stores which weight, and the order of its axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nlcore.arguments import check_input
from nlcore.spec import NonLocalSpec
from nlcore.weights import INITS, RUNNING, check_weights, weight_shapes

#: nlcore's name of a weight -> the parameter that holds it, or None. Of several names, the
#: parameter holds the weights one after the other, along the axis of their outputs.
Parameters = Mapping[str | tuple[str, ...], str | None]
#: A rule in words -> whether a spec satisfies it.
Rules = Mapping[str, Callable[[NonLocalSpec], bool]]
#: The orders of axes: (B, C, *positions), (B, *positions, C) and (B, N, C).
ORDERS = ("channels_first", "channels_last", "tokens")

_EVERY = NonLocalSpec(2, pairwise="concatenation", bias=True, pair_bias=True)
#: The names of all weights that a block can have.
NAMES = tuple(weight_shapes(_EVERY))


class Place(NamedTuple):
    """A parameter, and the weights that it stores."""

    parameter: str
    names: tuple[str, ...]

    @property
    def learned(self) -> bool:
        """Whether it stores weights that have a gradient."""
        return not set(self.names) & set(RUNNING)


class Placement(NamedTuple):
    """Where the weights of a block are, and the names of those that it does not have."""

    places: list[Place]
    absent: list[str]


class WrappedBlock:
    """A block of another package: what it supports, and where its weights are.

    `nlcore_torch.adapters.ModuleBackend` and `nlcore_keras.adapters.LayerBackend` describe the
    arguments.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[NonLocalSpec], Any],
        parameters: Parameters | Callable[[NonLocalSpec], Parameters],
        *,
        supports: Rules | Callable[[NonLocalSpec], bool | str] | None,
        dtypes: tuple[str, ...],
        axes: str,
        inputs_first: bool,
        output: Callable[[Any], Any],
        init: str | None,
    ) -> None:
        if axes not in ORDERS:
            raise ValueError(f"axes must be one of {ORDERS}; received {axes!r}")
        self.name, self.dtypes, self.init = name, dtypes, init
        self._build, self._parameters, self._supports = build, parameters, supports
        self._axes, self._inputs_first, self._output = axes, inputs_first, output
        if init not in (None, *INITS):
            raise ValueError(f"init must be None or one of {INITS}; received {init!r}")
        if not callable(parameters):
            placement(parameters)  # raises

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        """True, or the reason why not."""
        if dtype not in self.dtypes:
            return f"dtype is one of {', '.join(self.dtypes)}"
        if isinstance(self._supports, Mapping):
            broken = (words for words, holds in self._supports.items() if not holds(spec))
            said: bool | str = next(broken, True)
        else:
            said = True if self._supports is None else self._supports(spec)
        if said is not True:
            return said or f"{self.name} does not support {spec}"
        places, absent = self._placement(spec)
        known = {*absent, *(name for place in places for name in place.names)}
        missing = [name for name in weight_shapes(spec) if name not in known]
        return f"`parameters` names no parameter for {missing[0]}" if missing else True

    def _check(self, spec: NonLocalSpec, weights: Mapping[str, Any], x: np.ndarray) -> None:
        """Raise NotImplementedError, or the errors of wrong arguments, unless it can be called."""
        check_input(spec, x.shape, x.dtype.name)
        check_weights(spec, weights)
        if (why := self.supports(spec, x.dtype.name)) is not True:
            raise NotImplementedError(why)

    def _placement(self, spec: NonLocalSpec) -> Placement:
        given = self._parameters
        return placement(given(spec) if callable(given) else given)

    def _held(self, spec: NonLocalSpec, shapes: Mapping[str, tuple[int, ...]]) -> list[Place]:
        """The places whose weights the spec has.

        `shapes` has the shapes of the block's parameters, by name.

        Raises
        ------
        ValueError
            The block has no parameter of a name that is given for a weight, or one of another
            shape.
        NotImplementedError
            The block has a parameter, and the spec has no weight, or not all, for it.
        """
        wanted, held = weight_shapes(spec), []
        for place in self._placement(spec).places:
            lacking = [name for name in place.names if name not in wanted]
            if not lacking:
                if place.parameter not in shapes:
                    raise ValueError(
                        f"{self.name} must have a parameter {place.parameter!r}, for "
                        f"{' and '.join(place.names)}; it has {sorted(shapes)}"
                    )
                self._check_shape(place, _whole(spec, place), shapes[place.parameter])
                held.append(place)
            elif place.parameter in shapes and not _zero_without(place, lacking):
                raise NotImplementedError(
                    f"{self.name} has {place.parameter}, and the spec has no {lacking[0]}"
                )
        return held

    def _check_shape(self, place: Place, whole: tuple[int, ...], shape: tuple[int, ...]) -> None:
        """Raise ValueError unless a parameter of this shape can hold weights of shape `whole`."""
        expected = whole[::-1] if self._inputs_first else whole
        if _long_axes(expected) == _long_axes(shape):
            return
        turned = _long_axes(expected[::-1]) == _long_axes(shape)
        hint = f", which needs inputs_first={not self._inputs_first}" if turned else ""
        raise ValueError(
            f"{place.parameter} of {self.name} must have shape {expected}, with axes of size 1 "
            f"anywhere, for {' and '.join(place.names)}; received shape {shape}{hint}"
        )

    def _values(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        shapes: Mapping[str, tuple[int, ...]],
        learned: Iterable[str],
    ) -> dict[str, np.ndarray]:
        """The value of every parameter that `parameters` names; 0 for a bias the spec has not.

        `learned` has the names of the parameters that training would change.

        Raises
        ------
        ValueError
            See `_held`. A parameter that is learned stores no weight.
        NotImplementedError
            See `_held`. A weight that the block does not have is not 0.
        """
        places, absent = self._placement(spec)
        if more := [name for name in absent if name in weights and np.any(weights[name])]:
            raise NotImplementedError(f"{self.name} has no {more[0]}")
        values = {
            place.parameter: np.zeros(shapes[place.parameter], np.float32)
            for place in places
            if place.parameter in shapes
        }
        for place in self._held(spec, shapes):
            arrays = [weights[name] for name in place.names]
            value = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
            value = value.T if self._inputs_first else value
            values[place.parameter] = value.reshape(shapes[place.parameter])
        if left := [name for name in learned if name not in values]:
            raise ValueError(
                f"{self.name} has parameters that store no weight: {left}. Name them in "
                "`parameters`, or let `build` return them frozen"
            )
        return values

    def _named(
        self, spec: NonLocalSpec, held: Iterable[Place], arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Weights or gradients by nlcore's names, from arrays by the parameters' names."""
        shapes = weight_shapes(spec)
        found = {}
        for place in held:
            value, whole = arrays[place.parameter], _whole(spec, place)
            rows = value.reshape(whole[::-1]).T if self._inputs_first else value.reshape(whole)
            if len(place.names) == 1:
                found[place.names[0]] = rows
            else:
                ends = np.cumsum([shapes[name][0] for name in place.names])[:-1]
                found |= zip(place.names, np.split(rows, ends), strict=True)
        return {name: found[name] for name in shapes if name in found}

    def _arranged(self, x: np.ndarray) -> np.ndarray:
        """x (B, C, *positions) with the block's order of axes."""
        if self._axes == "channels_first":
            return x
        last = np.moveaxis(x, 1, -1)  # (B, *positions, C)
        return last if self._axes == "channels_last" else last.reshape(len(x), -1, x.shape[1])

    def _restored(self, z: np.ndarray, like: np.ndarray) -> np.ndarray:
        """z with the block's order of axes -> (B, C, *positions), the shape of `like`."""
        if self._axes == "channels_first":
            return z
        batch, channels, *positions = like.shape
        return np.moveaxis(z.reshape(batch, *positions, channels), -1, 1)

    def _check_output(
        self, shape: tuple[int, ...], dtype: str, like: tuple[int, ...], wanted: str
    ) -> None:
        """Raise ValueError unless the block's output has the shape and dtype of its input."""
        if tuple(shape) != tuple(like) or dtype != wanted:
            raise ValueError(
                f"{self.name} must return shape {tuple(like)} and dtype {wanted}, those of its "
                f"input; received shape {tuple(shape)} and dtype {dtype}"
            )


def placement(parameters: Parameters) -> Placement:
    """The placement that `parameters` describes.

    Raises
    ------
    ValueError
        A name is not that of a weight, or a name or a parameter is given twice.
    """
    places: list[Place] = []
    absent: list[str] = []
    seen: set[str] = set()
    for key, parameter in parameters.items():
        names = (key,) if isinstance(key, str) else tuple(key)
        if unknown := [name for name in names if name not in NAMES]:
            raise ValueError(f"parameters must name weights of {NAMES}; received {unknown[0]!r}")
        if parameter is None:
            absent += names
        else:
            places.append(Place(parameter, names))
        given = [*names, *([] if parameter is None else [f"parameter {parameter}"])]
        if twice := [name for name in given if name in seen]:
            raise ValueError(f"parameters must give every name once; received {twice[0]!r} twice")
        seen.update(given)
    return Placement(places, absent)


def _whole(spec: NonLocalSpec, place: Place) -> tuple[int, ...]:
    """The shape of all weights of a place together: (outputs, inputs), (outputs,) or ()."""
    shapes = [weight_shapes(spec)[name] for name in place.names]
    first = shapes[0]
    return first if len(shapes) == 1 else (sum(shape[0] for shape in shapes), *first[1:])


def _zero_without(place: Place, lacking: list[str]) -> bool:
    """Whether the parameter holds nothing but biases, which the spec lacks: 0 has no effect."""
    return len(lacking) == len(place.names) and all(n.endswith(".bias") for n in lacking)


def _long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes other than 1, which a reshape between convolutions and matrices keeps."""
    return tuple(size for size in shape if size != 1)
