"""Weights of other projects: read from files, converted to nlcore's names and shapes, and back.

This package imports no framework. `nlcore_torch.convert` adds tensors and PyTorch's files.
"""

from nlcore.checkpoints.block_conversion import convert_block, export_block
from nlcore.checkpoints.block_origins import Origin, block_naming
from nlcore.checkpoints.converted import Converted
from nlcore.checkpoints.files import read_arrays
from nlcore.checkpoints.imagenet import inflate, keras_arrays
from nlcore.checkpoints.network_conversion import convert_network, differences, export_network
from nlcore.checkpoints.safe_pickle import read_pickle
from nlcore.video.published_networks import PUBLISHED, Published, published

__all__ = [
    "PUBLISHED",
    "Converted",
    "Origin",
    "Published",
    "block_naming",
    "convert_block",
    "convert_network",
    "differences",
    "export_block",
    "export_network",
    "inflate",
    "keras_arrays",
    "published",
    "read_arrays",
    "read_pickle",
]
