"""The non-local block for Keras 3: a layer, `NonLocalBlock`, and the bare operation.

Into a model that exists: `insert`. Networks: `nlcore_keras.video.network`.

Names are loaded on first use, so that `nlcore_keras.backend` can choose Keras' engine first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlcore_keras.block import NonLocalBlock
    from nlcore_keras.insertion import assert_identity, blocks, insert, is_active, remove
    from nlcore_keras.operation.operation import non_local_operation

_HOME = {
    "NonLocalBlock": "nlcore_keras.block",
    "assert_identity": "nlcore_keras.insertion",
    "blocks": "nlcore_keras.insertion",
    "insert": "nlcore_keras.insertion",
    "is_active": "nlcore_keras.insertion",
    "non_local_operation": "nlcore_keras.operation.operation",
    "remove": "nlcore_keras.insertion",
}
__all__ = [
    "NonLocalBlock",
    "assert_identity",
    "blocks",
    "insert",
    "is_active",
    "non_local_operation",
    "remove",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
