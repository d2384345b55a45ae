"""The non-local block in PyTorch: a module, `NonLocalBlock`, and a functional form."""

from nlcore_torch.block import NonLocalBlock
from nlcore_torch.operation import non_local_operation
from nlcore_torch.ops import non_local_block
from nlcore_torch.sharded import sharded_block

__all__ = ["NonLocalBlock", "non_local_block", "non_local_operation", "sharded_block"]
