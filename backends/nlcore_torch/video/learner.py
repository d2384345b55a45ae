"""TorchLearner: a network with its loss and optimizer, as `nlcore.video.running` trains it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore.video import Recipe
from nlcore.video.draws import framework_seed
from nlcore.video.loading import Batch
from nlcore.video.loading.targets import one_label
from nlcore_torch.arrays import array
from nlcore_torch.video.network import Network
from nlcore_torch.video.norms import Norms
from nlcore_torch.video.processes import Place
from nlcore_torch.video.sgd_learner import SgdLearner


class TorchLearner(SgdLearner):
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
        Whether clips and kernels have the memory format ``torch.channels_last_3d``. On a CPU clips
        always have it, and that of the kernels makes no difference.
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
        self.recipe, self.seed = recipe, seed
        place = place or Place(0, 1, torch.device("cpu"))
        self._format = torch.channels_last_3d if channels_last else torch.contiguous_format
        self.network = Network(recipe.network, device=place.device)
        self.network.to(memory_format=self._format)
        self._forward = torch.compile(self.network) if compile else self.network
        self._fused: Network | None = None  # of the present weights, once scores are asked for
        groups = recipe.groups(name for name, _ in self.network.named_parameters())
        super().__init__(
            self.network,
            Norms(self.network, recipe),
            [(names, decay, 1.0) for decay, names in groups.items()],
            place,
            precision,
            recipe.clip_norm,
            momentum=recipe.momentum,
            dampening=recipe.dampening,
            nesterov=recipe.nesterov,
        )

    def import_weights(self, weights: dict[str, np.ndarray]) -> None:
        """See `Network.import_weights`."""
        self._fused = None
        self.network.import_weights(weights)

    def compute(self, batch: Batch) -> Tensor:
        """The logits of a batch."""
        return self.network(self._clips(batch.pixels))

    def gradients(self, batches: Iterable[Batch], clips: int) -> tuple[float, int]:
        """See `nlcore.video.running.Learner`."""
        self._fused = None
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
        self._fused = None
        super().update(rate)

    def statistics(self, batches: Iterable[Batch]) -> None:
        """See `nlcore.video.running.Learner`."""
        self._fused = None
        super().statistics(batches)

    @torch.no_grad()
    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """See `nlcore.video.running.Learner`. They are those of the fused network."""
        if self._fused is None:
            self.norms.evaluate()
            self._fused = self.network.fused().to(memory_format=self._format)
        activation = "softmax" if one_label(self.recipe) else "sigmoid"
        with self._autocast():
            found = self._fused.scores(self._clips(pixels), activation)
        return array(found.float())

    def _clips(self, pixels: np.ndarray) -> Tensor:
        moved = torch.from_numpy(pixels).to(self.place.device, non_blocking=True)
        return moved.contiguous(memory_format=self._format)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum over the clips of the mean over the classes."""
        if one_label(self.recipe):
            return F.cross_entropy(logits, target, reduction="sum")
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        return losses / logits.shape[1]
