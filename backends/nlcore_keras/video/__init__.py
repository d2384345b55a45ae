"""The paper's video networks in Keras.

`Network` is loaded on first use, so that `nlcore_keras.backend` can choose Keras' engine first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlcore_keras.video.network import Network

__all__ = ["Network"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nlcore_keras.video import network

    return getattr(network, name)
