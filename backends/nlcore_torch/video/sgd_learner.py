"""SgdLearner: a network and SGD with momentum, of which other learners compute the gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlcore.video.running.learner import LearnerState
from nlcore_torch.arrays import array, tensor
from nlcore_torch.video.norms import Norms
from nlcore_torch.video.processes import Place

#: Name of a precision -> the dtype of autocast, or None for none.
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Names of trained weights, their weight decay, and what multiplies their learning rate.
Group = tuple[Sequence[str], float, float]


class SgdLearner:
    """The state, the update and the sums of a `nlcore.video.running.Learner`.

    Parameters
    ----------
    network : nn.Module
    norms : Norms
    groups : sequence of Group
        Parameters in none of them are not trained.
    place : Place
    precision : {"float32", "bfloat16", "float16"}
        Of autocast. The loss of float16 is scaled (`torch.amp.GradScaler`).
    clip_norm : float or None
        Largest L2 norm of the gradient of all weights.
    **options
        momentum, dampening and nesterov of `torch.optim.SGD`.

    Raises
    ------
    ValueError
        The precision is unknown.
    """

    def __init__(
        self,
        network: nn.Module,
        norms: Norms,
        groups: Sequence[Group],
        place: Place | None,
        precision: str,
        clip_norm: float | None,
        **options: Any,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {tuple(PRECISIONS)}; received {precision!r}"
            )
        self.network: Any = network
        self.norms = norms
        self.place = place or Place(0, 1, torch.device("cpu"))
        self.process, self.processes = self.place.process, self.place.processes
        self._dtype, self._clip_norm = PRECISIONS[precision], clip_norm
        self._parameters = dict(network.named_parameters())
        self._trained = [name for names, _, _ in groups for name in names]
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(name in set(self._trained))
        self.optimizer = torch.optim.SGD(
            [
                {"params": [self._parameters[n] for n in names], "weight_decay": d, "times": times}
                for names, d, times in groups
            ],
            lr=1.0,  # set by each update
            fused=self.place.device.type in ("cpu", "cuda"),  # one call for all parameters
            **options,
        )
        self._scaler = torch.amp.GradScaler(
            self.place.device.type, enabled=self._dtype is torch.float16
        )

    def import_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Replace all weights."""
        raise NotImplementedError

    def export_weights(self) -> dict[str, np.ndarray]:
        """All weights by name, as copies."""
        return {name: copied(value) for name, value in self.network.state_dict().items()}

    def load(self, state: LearnerState) -> None:
        """Replace the weights, the momentum and the scale of the loss."""
        self.import_weights(state.weights)
        for name in self._trained:
            known = self.optimizer.state[self._parameters[name]]
            known.clear()
            if name in state.momentum:
                buffer = tensor(state.momentum[name]).to(self._parameters[name])
                known["momentum_buffer"] = buffer.clone()
        if state.extra and self._scaler.is_enabled():
            self._scaler.load_state_dict(state.extra)

    def state(self) -> LearnerState:
        """The weights, the momentum and the scale of the loss, as copies."""
        momentum = {}
        for name in self._trained:
            buffer = self.optimizer.state[self._parameters[name]].get("momentum_buffer")
            if buffer is not None:
                momentum[name] = copied(buffer)
        return LearnerState(self.export_weights(), momentum, self._scaler.state_dict())

    def update(self, rate: float) -> None:
        """See `nlcore.video.running.Learner`."""
        trained = [self._parameters[name] for name in self._trained]
        for parameter in trained:
            if parameter.grad is None:  # this process has no clip in a smaller batch
                parameter.grad = torch.zeros_like(parameter)
        self.place.add_all([p.grad for p in trained if p.grad is not None])
        self._scaler.unscale_(self.optimizer)
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(trained, self._clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["times"]
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()

    def compute(self, batch: Any) -> Any:
        """The outputs of the network in its mode."""
        raise NotImplementedError

    @torch.no_grad()
    def statistics(self, batches: Iterable[Any]) -> None:
        """See `nlcore.video.running.Learner`."""
        count = torch.zeros(1, dtype=torch.float64, device=self.place.device)
        with self.norms.moments() as sums:
            self.norms.train(running=False)
            for batch in batches:
                with self._autocast():
                    self.compute(batch)
                count += 1
        if not self.norms.trained:
            return
        self.place.add_all([count, *sums])
        if count:
            self.norms.set_running(sums, float(count))
            return
        for running in self.norms.running:
            if self.process:
                running.zero_()
            self.place.add(running)

    def summed(self, values: np.ndarray) -> np.ndarray:
        """See `nlcore.video.running.Learner`."""
        together = torch.from_numpy(np.array(values, np.float64)).to(self.place.device)
        self.place.add(together)
        return together.cpu().numpy()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.place.device.type, self._dtype, enabled=self._dtype is not None)


def copied(value: Tensor) -> np.ndarray:
    """A tensor as a new array."""
    return np.array(array(value.contiguous()))
