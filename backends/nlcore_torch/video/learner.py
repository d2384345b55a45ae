"""TorchLearner: a network with its loss and optimizer, as `nlcore.video.running` trains it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore.video import Recipe
from nlcore.video.draws import framework_seed
from nlcore.video.loading import Batch
from nlcore.video.loading.targets import one_label
from nlcore.video.running.learner import LearnerState
from nlcore_torch.arrays import array, tensor
from nlcore_torch.video.network import Network
from nlcore_torch.video.norms import Norms
from nlcore_torch.video.processes import Place

#: Name of a precision -> the dtype of autocast, or None for none.
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchLearner:
    """A `nlcore.video.running.Learner` of PyTorch.

    Parameters
    ----------
    recipe : Recipe
    seed : int
        Of dropout.
    place : Place
    precision : {"float32", "bfloat16", "float16"}
        Of autocast. The loss of float16 is scaled (`torch.amp.GradScaler`).
    channels_last : bool
        Whether clips and kernels have the memory format ``torch.channels_last_3d``.
    compile : bool
        Whether `torch.compile` compiles the network.

    Raises
    ------
    ValueError
        The precision is unknown.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int = 0,
        place: Place | None = None,
        precision: str = "float32",
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {tuple(PRECISIONS)}; received {precision!r}"
            )
        self.recipe, self.seed = recipe, seed
        self.place = place or Place(0, 1, torch.device("cpu"))
        self.process, self.processes = self.place.process, self.place.processes
        self._dtype = PRECISIONS[precision]
        self._format = torch.channels_last_3d if channels_last else torch.contiguous_format
        self.network = Network(recipe.network, device=self.place.device)
        self.network.to(memory_format=self._format)  # type: ignore[call-overload]
        self._forward = torch.compile(self.network) if compile else self.network
        self.norms = Norms(self.network, recipe)
        self._parameters = dict(self.network.named_parameters())
        groups = recipe.groups(self._parameters)
        self._trained = [name for names in groups.values() for name in names]
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(name in set(self._trained))
        self.optimizer = torch.optim.SGD(
            [
                {"params": [self._parameters[name] for name in names], "weight_decay": decay}
                for decay, names in groups.items()
            ],
            lr=recipe.base_rate,
            momentum=recipe.momentum,
            dampening=recipe.dampening,
            nesterov=recipe.nesterov,
        )
        self._scaler = torch.amp.GradScaler(
            self.place.device.type, enabled=self._dtype is torch.float16
        )

    def load(self, state: LearnerState) -> None:
        """Replace the weights, the momentum and the scale of the loss."""
        self.network.import_weights(state.weights)
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
        weights = {name: _copy(value) for name, value in self.network.state_dict().items()}
        momentum = {}
        for name in self._trained:
            buffer = self.optimizer.state[self._parameters[name]].get("momentum_buffer")
            if buffer is not None:
                momentum[name] = _copy(buffer)
        return LearnerState(weights, momentum, self._scaler.state_dict())

    def gradients(self, batches: Iterable[Batch], clips: int) -> tuple[float, int]:
        """See `nlcore.video.running.Learner`."""
        total = torch.zeros((), dtype=torch.float64, device=self.place.device)
        right = torch.zeros((), dtype=torch.int64, device=self.place.device)
        for batch in batches:
            self.norms.train(running=batch.first == 0)
            torch.manual_seed(framework_seed(self.seed, batch.iteration, batch.first))
            target = torch.from_numpy(batch.targets).to(self.place.device)
            with self._autocast():
                logits = self._forward(self._clips(batch.pixels))
            wide = logits if logits.dtype == torch.float64 else logits.float()
            loss = self._loss(wide, target) / clips
            self._scaler.scale(loss).backward()
            total += loss.detach()
            if one_label(self.recipe):
                right += (logits.argmax(1) == target).sum()
        return float(total), int(right)

    def update(self, rate: float) -> None:
        """See `nlcore.video.running.Learner`."""
        trained = [self._parameters[name] for name in self._trained]
        for parameter in trained:
            if parameter.grad is None:  # this process has no clip in a smaller batch
                parameter.grad = torch.zeros_like(parameter)
        self.place.add_all([p.grad for p in trained if p.grad is not None])
        self._scaler.unscale_(self.optimizer)
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(trained, self.recipe.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def statistics(self, batches: Iterable[Batch]) -> None:
        """See `nlcore.video.running.Learner`."""
        count = torch.zeros(1, dtype=torch.float64, device=self.place.device)
        with self.norms.moments() as sums:
            self.norms.train(running=False)
            for batch in batches:
                with self._autocast():
                    self.network(self._clips(batch.pixels))
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

    @torch.no_grad()
    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """See `nlcore.video.running.Learner`."""
        self.norms.evaluate()
        activation = "softmax" if one_label(self.recipe) else "sigmoid"
        with self._autocast():
            found = self.network.scores(self._clips(pixels), activation)
        return array(found.float())

    def summed(self, values: np.ndarray) -> np.ndarray:
        """See `nlcore.video.running.Learner`."""
        together = torch.from_numpy(np.array(values, np.float64)).to(self.place.device)
        self.place.add(together)
        return together.cpu().numpy()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.place.device.type, self._dtype, enabled=self._dtype is not None)

    def _clips(self, pixels: np.ndarray) -> Tensor:
        moved = torch.from_numpy(pixels).to(self.place.device, non_blocking=True)
        return moved.contiguous(memory_format=self._format)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum over the clips of the mean over the classes."""
        if one_label(self.recipe):
            return F.cross_entropy(logits, target, reduction="sum")
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        return losses / logits.shape[1]


def _copy(value: Any) -> np.ndarray:
    return np.array(array(value.contiguous()))
