"""The non-local block in PyTorch: a module, `NonLocalBlock`, and a functional form.

Into a model that exists: `insert`. Networks: `nlcore_torch.models`. Weights of other projects:
`nlcore_torch.convert`. What a model's blocks cost: `nlcore_torch.report`.
"""

from nlcore_torch.block import NonLocalBlock
from nlcore_torch.insertion import assert_identity, blocks, insert, is_active, remove
from nlcore_torch.operation import non_local_operation
from nlcore_torch.ops import non_local_block
from nlcore_torch.responses import top_responses
from nlcore_torch.sharded import sharded_block

__all__ = [
    "NonLocalBlock",
    "assert_identity",
    "blocks",
    "insert",
    "is_active",
    "non_local_block",
    "non_local_operation",
    "remove",
    "sharded_block",
    "top_responses",
]
