"""The specification of the non-local block and its reference implementation in NumPy.

`NonLocalSpec` describes a block, and `dialect` returns the spec of a published implementation.
`block` and `block_vjp` compute the block and its gradients in float64.
"""

from nlcore.arguments import check_input
from nlcore.dialects import DIALECTS, dialect
from nlcore.non_local_means.filter import nl_means
from nlcore.reference.block import block, block_vjp
from nlcore.reference.operation import operation, operation_vjp
from nlcore.spec import SPEC_VERSION, NonLocalSpec
from nlcore.weights import check_weights, init_weights, weight_shapes

__version__ = "0.1.0"

__all__ = [
    "DIALECTS",
    "SPEC_VERSION",
    "NonLocalSpec",
    "block",
    "block_vjp",
    "check_input",
    "check_weights",
    "dialect",
    "init_weights",
    "nl_means",
    "operation",
    "operation_vjp",
    "weight_shapes",
]
