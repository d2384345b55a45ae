"""The non-local block in PyTorch: a module, `NonLocalBlock`, and a function, `non_local_block`.

`insert` adds blocks to an existing model, and `placement_report` reports their costs.
`nlcore_torch.video` contains the paper's networks. `nlcore_torch.convert` reads the weights of
other projects.
"""

from nlcore_torch.attention_weights import responses, top_responses
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.functional import non_local_block
from nlcore_torch.insertion import (
    assert_identity,
    block_activity,
    insert,
    non_local_blocks,
    remove,
)
from nlcore_torch.operation.operation import non_local_operation
from nlcore_torch.placement import execution, placement_report
from nlcore_torch.sharded import sharded_block

__all__ = [
    "NonLocalBlock",
    "assert_identity",
    "block_activity",
    "execution",
    "insert",
    "non_local_block",
    "non_local_blocks",
    "non_local_operation",
    "placement_report",
    "remove",
    "responses",
    "sharded_block",
    "top_responses",
]
