"""Conversion of other projects' weights, from files or state dicts, and back.

This module is `nlcore.checkpoints` for tensors and PyTorch's files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from torch import Tensor

import nlcore.checkpoints
from nlcore import NonLocalSpec
from nlcore.checkpoints import Converted, Origin
from nlcore.checkpoints.files import arrays_of, kind_of, read_arrays, state_of
from nlcore.video import NetworkSpec
from nlcore_torch.arrays import array, tensor

#: A file, or tensors or arrays by name.
Source = str | PathLike[str] | Mapping[str, Any]

__all__ = [
    "Converted",
    "convert_block",
    "convert_network",
    "export_block",
    "export_network",
    "read_weights",
]


def read_weights(path: str | PathLike[str], entry: str | None = None) -> dict[str, np.ndarray]:
    """Read weights by name from a file of `torch.save`, a .safetensors file or a pickle.

    The kind of the file, and where its weights are, is determined by its content. See
    `nlcore.checkpoints.read_arrays` for the arguments and the result. No code in a file is
    executed: PyTorch's files are read with ``weights_only=True``.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        The file is of another kind, is damaged, contains values that are not weights, or several
        entries with weights.
    """
    if kind_of(path) != "torch":
        return read_arrays(path, entry)
    with open(path, "rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can raise any exception
            # torch's error is not chained, because its text advises to set weights_only=False.
            raise ValueError(f"{fspath(path)}: {_why(error)}") from None
    return arrays_of(_arrays(state_of(content, path, entry)), path)


def convert_block(
    source: Source,
    origin: str | Origin,
    pairwise: str | None = None,
    *,
    use_scale: bool | None = None,
    prefix: str = "",
    partial: bool = False,
    **fields: Any,
) -> Converted[NonLocalSpec]:
    """`nlcore.checkpoints.convert_block` for a file or a state dict of tensors.

    To use the result, call ``block = NonLocalBlock.from_spec(converted.spec)`` and
    ``block.import_weights(converted.weights)``.
    """
    return nlcore.checkpoints.convert_block(
        _state(source),
        origin,
        pairwise,
        use_scale=use_scale,
        prefix=prefix,
        partial=partial,
        **fields,
    )


def convert_network(
    source: Source,
    network: NetworkSpec,
    origin: str,
    *,
    use_scale: bool | None = None,
    partial: bool = False,
) -> Converted[NetworkSpec]:
    """`nlcore.checkpoints.convert_network` for a file or a state dict of tensors."""
    return nlcore.checkpoints.convert_network(
        _state(source), network, origin, use_scale=use_scale, partial=partial
    )


def export_block(
    spec: NonLocalSpec,
    weights: Mapping[str, Any],
    origin: str | Origin,
    *,
    prefix: str = "",
    affine: bool = False,
) -> dict[str, Tensor]:
    """`nlcore.checkpoints.export_block` as tensors, for `load_state_dict` of the other module."""
    state = nlcore.checkpoints.export_block(
        spec, _arrays(weights), origin, prefix=prefix, affine=affine
    )
    return {name: tensor(value) for name, value in state.items()}


def export_network(
    network: NetworkSpec,
    weights: Mapping[str, Any],
    origin: str,
    *,
    use_scale: bool | None = None,
    affine: bool = False,
) -> dict[str, Tensor]:
    """`nlcore.checkpoints.export_network` as tensors."""
    state = nlcore.checkpoints.export_network(
        network, _arrays(weights), origin, use_scale=use_scale, affine=affine
    )
    return {name: tensor(value) for name, value in state.items()}


def _state(source: Source) -> Mapping[str, Any]:
    return _arrays(source) if isinstance(source, Mapping) else read_weights(source)


def _arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state with tensors converted to arrays."""
    return {name: array(v) if isinstance(v, Tensor) else v for name, v in state.items()}


def _why(error: Exception) -> str:
    """The reason that torch's error gives for not reading a file."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named:
        return f"expected tensors in plain containers; it names {named[1]}"
    first = str(error).partition("\n")[0].partition("Weights only load failed")[0]
    damage = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"expected a complete file that torch.save has written; {damage}"
