"""The non-local block in Keras 3: a layer, `NonLocalBlock`, and a function, `non_local_block`.

`insert` puts blocks into a model that exists, `placement_report` reports their costs,
`nlcore_keras.video` has the paper's networks.

Names are loaded on first use, so that `nlcore_keras.backend` can choose Keras' engine first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlcore_keras.attention_weights import responses, top_responses
    from nlcore_keras.block import NonLocalBlock
    from nlcore_keras.functional import non_local_block
    from nlcore_keras.insertion import (
        assert_identity,
        block_activity,
        insert,
        non_local_blocks,
        remove,
    )
    from nlcore_keras.operation.operation import non_local_operation
    from nlcore_keras.placement import execution, placement_report

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
    "top_responses",
]
#: The packages of Keras' engines.
_ENGINES = ("tensorflow", "jax", "torch")
_HOME = {
    "NonLocalBlock": "block",
    "assert_identity": "insertion",
    "block_activity": "insertion",
    "execution": "placement",
    "insert": "insertion",
    "non_local_block": "functional",
    "non_local_blocks": "insertion",
    "non_local_operation": "operation.operation",
    "placement_report": "placement",
    "remove": "insertion",
    "responses": "attention_weights",
    "top_responses": "attention_weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOME[name]}")
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in ("keras", *_ENGINES):
            raise
        raise ImportError(
            f"nlcore_keras needs {missing}, which is not installed: pip install keras and one of "
            f"{', '.join(_ENGINES)}, and name it in the variable KERAS_BACKEND",
            name=missing,
        ) from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
