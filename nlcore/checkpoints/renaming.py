"""The weights of a network from a file or a run, under the names of nlcore or another project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nlcore.checkpoints.converted import Weights
from nlcore.checkpoints.files import read_arrays
from nlcore.checkpoints.network_conversion import convert_network, export_network
from nlcore.checkpoints.network_origins import NETWORKS
from nlcore.checkpoints.starting_weights import complete_weights, read_source
from nlcore.video.network import NetworkSpec

OWN = "nlcore"


def renamed_weights(
    source: Path,
    network: NetworkSpec,
    naming: str,
    to: str = OWN,
    read: Callable[[Path], Mapping[str, Any]] = read_arrays,
) -> tuple[Weights, str]:
    """All weights of a network with other names and shapes, and a report of the conversion.

    Parameters
    ----------
    source : Path
        A file, a checkpoint or a run.
    network : NetworkSpec
    naming, to : str
        Whose names the source has, and whose names the result gets: "nlcore", "caffe2", "slowfast",
        "pytorchvideo" or "mmaction2".
    read : function
        Reads a file.

    Raises
    ------
    ValueError
        A project is unknown, a weight is missing, left over or misshapen, or the project cannot
        hold the network.
    OSError
        The file cannot be read.
    """
    known = (OWN, *NETWORKS)
    if to not in known:
        raise ValueError(f"to must be one of {known}; received {to!r}")
    arrays, report = read_source(source, read), ""
    if naming in NETWORKS:
        converted = convert_network(arrays, network, naming)
        weights, report = converted.weights, converted.report()
    else:
        weights = complete_weights(network, arrays, naming)
    return (weights if to == OWN else export_network(network, weights, to)), report
