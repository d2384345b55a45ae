"""Adapters that make an nn.Module of another package a backend for the conformance suite.

`ModuleBackend` takes any module. The other modules of this folder apply it to those of mmcv,
pytorchvideo, SlowFast and timm.
"""

from nlcore_torch.adapters.module_backend import ModuleBackend

__all__ = ["ModuleBackend"]
