"""The paper's video networks in PyTorch. `attend` draws the weights of one position."""

from nlcore_torch.video.network import Network

__all__ = ["Network"]
