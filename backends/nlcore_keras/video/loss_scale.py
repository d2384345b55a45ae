"""The scale of float16's loss, with the rule and the state of `torch.amp.GradScaler`."""

from __future__ import annotations

from typing import Any


class LossScale:
    """A factor of the loss, so that float16's small gradients do not become 0.

    It is halved after an update whose gradients are not finite, and doubled after 2000 others in a
    row.

    Attributes
    ----------
    value : float
        1.0 if it is not enabled.
    """

    GROWTH, BACKOFF, INTERVAL = 2.0, 0.5, 2000

    def __init__(self, enabled: bool) -> None:
        self.enabled, self._good = enabled, 0
        self.value = 65536.0 if enabled else 1.0

    def after(self, finite: bool) -> None:
        """Change the factor after an update."""
        if not finite:
            self.value, self._good = self.value * self.BACKOFF, 0
            return
        self._good += 1
        if self._good == self.INTERVAL:
            self.value, self._good = self.value * self.GROWTH, 0

    def state(self) -> dict[str, Any]:
        """The state dict of a GradScaler, empty if it is not enabled."""
        if not self.enabled:
            return {}
        return {
            "scale": self.value,
            "growth_factor": self.GROWTH,
            "backoff_factor": self.BACKOFF,
            "growth_interval": self.INTERVAL,
            "_growth_tracker": self._good,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Replace the factor by that of a state dict, unless it is empty."""
        if self.enabled and state:
            self.value, self._good = float(state["scale"]), int(state["_growth_tracker"])
