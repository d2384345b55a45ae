"""The specification of the non-local block and its reference implementation in NumPy.

`NonLocalSpec` describes a block, and `dialect` returns the spec of a published implementation.
`block` and `block_vjp` compute the block and its gradients in float64.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nlcore.arguments import check_input
from nlcore.dialects import DIALECTS, dialect
from nlcore.spec import SPEC_VERSION, NonLocalSpec
from nlcore.weights import check_weights, init_weights, weight_shapes

if TYPE_CHECKING:
    from nlcore.non_local_means.filter import nl_means
    from nlcore.reference.block import block, block_vjp
    from nlcore.reference.operation import operation, operation_vjp

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

#: What needs Numba is loaded on first use. The backends and the command line do without it.
_HOME = {
    "block": "reference.block",
    "block_vjp": "reference.block",
    "nl_means": "non_local_means.filter",
    "operation": "reference.operation",
    "operation_vjp": "reference.operation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
