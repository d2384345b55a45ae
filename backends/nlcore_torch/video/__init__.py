"""The paper's video networks in PyTorch, and where their positions look."""

from nlcore_torch.video.network import Network

__all__ = ["Network"]
