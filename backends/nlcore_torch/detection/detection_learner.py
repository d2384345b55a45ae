"""DetectionLearner: a detector with its losses and SGD, as `nlcore.video.running` trains it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from nlcore.coco import CocoRecipe
from nlcore.coco.coco_task import LOSSES
from nlcore.coco.images.image_sources import ImageBatch
from nlcore.coco.results.detections import Detections
from nlcore.video.draws import framework_seed
from nlcore_torch.arrays import array, tensor
from nlcore_torch.detection.detector_models import build_detector
from nlcore_torch.video.norms import Norms
from nlcore_torch.video.processes import Place
from nlcore_torch.video.sgd_learner import SgdLearner, copied

#: Probability above which a pixel is inside of a mask.
INSIDE = 0.5
#: A count of torch's batch normalization that nothing depends on.
COUNTS = "num_batches_tracked"


class DetectionLearner(SgdLearner):
    """A `nlcore.video.running.Learner` of torchvision's detectors.

    Parameters
    ----------
    recipe : CocoRecipe
    seed : int
        Of the boxes that torchvision draws to train on, and of the size of an image if
        ``recipe.detector.min_size`` has several.
    place : Place
    precision : {"float32", "bfloat16", "float16"}
        Of autocast.

    Raises
    ------
    ValueError
        The precision is unknown.
    """

    def __init__(
        self,
        recipe: CocoRecipe,
        seed: int = 0,
        place: Place | None = None,
        precision: str = "float32",
    ) -> None:
        self.recipe, self.seed = recipe, seed
        place = place or Place(0, 1, torch.device("cpu"))
        network = build_detector(recipe.detector).to(place.device)
        super().__init__(
            network,
            Norms(network, recipe),
            recipe.groups(trainable_shapes(network, recipe)),
            place,
            precision,
            recipe.clip_norm,
            momentum=recipe.momentum,
        )

    def import_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Replace all weights.

        Raises
        ------
        ValueError
            A weight is missing, is not the network's, or has the wrong shape.
        """
        own = weights_of(self.network)
        wrong = sorted(set(own) ^ set(weights))
        wrong += [n for n in own if n in weights and tuple(own[n].shape) != weights[n].shape]
        if wrong:
            raise ValueError(
                f"weights must be those of the detector, {len(own)} by name and shape; "
                f"{len(wrong)} are missing, unknown or of another shape, such as {wrong[0]!r}"
            )
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(tensor(weights[name]))

    def export_weights(self) -> dict[str, np.ndarray]:
        """All weights by torchvision's names, as copies."""
        return {name: copied(value) for name, value in weights_of(self.network).items()}

    def compute(self, batch: ImageBatch) -> dict[str, Tensor]:
        """The losses of a batch, by torchvision's names."""
        targets = [
            {name: torch.from_numpy(v).to(self.place.device) for name, v in target.items()}
            for target in batch.targets
        ]
        return self.network([self._image(pixels) for pixels in batch.pixels], targets)

    def gradients(self, batches: Iterable[ImageBatch], clips: int) -> tuple[float, np.ndarray]:
        """See `nlcore.video.running.Learner`.

        The loss of a batch is the mean over it, so it counts as many times as the batch has images.
        Returns the loss and its parts, in the order of `nlcore.coco.coco_task.LOSSES`.
        """
        names = [f"loss_{name}" for name in LOSSES[self.recipe.task]]
        parts = torch.zeros(len(names), dtype=torch.float64, device=self.place.device)
        for batch in batches:
            self.norms.train(running=batch.first == 0)
            torch.manual_seed(framework_seed(self.seed, batch.iteration, batch.first))
            with self._autocast():
                losses = self.compute(batch)
            shares = torch.stack([losses[name].float() for name in names])
            shares = shares * (len(batch.numbers) / clips)
            self._scaler.scale(shares.sum()).backward()
            parts += shares.detach()
        return float(parts.sum()), parts.cpu().numpy()

    @torch.no_grad()
    def scores(self, pixels: np.ndarray) -> Detections:
        """The objects in an image (H, W, 3) uint8, the best first."""
        self.norms.evaluate()
        with self._autocast():
            (found,) = self.network([self._image(pixels)])
        masks, keypoints = found.get("masks"), found.get("keypoints")
        return Detections(
            array(found["boxes"].float()),
            array(found["labels"]),
            array(found["scores"].float()),
            None if masks is None else array(masks[:, 0] > INSIDE),
            None if keypoints is None else array(keypoints.float()),
        )

    def _image(self, pixels: np.ndarray) -> Tensor:
        """(3, H, W) from 0 to 1, as torchvision's detectors take it."""
        moved = torch.from_numpy(pixels).to(self.place.device)
        return moved.permute(2, 0, 1).contiguous().float() / 255


def weights_of(network: torch.nn.Module) -> dict[str, Tensor]:
    """The parameters and running statistics of a detector by name."""
    return {n: value for n, value in network.state_dict().items() if not n.endswith(COUNTS)}


def trainable_shapes(network: torch.nn.Module, recipe: CocoRecipe) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters that the recipe's ``batch_norm`` lets be trained."""
    affine = Norms(network, recipe).names if recipe.batch_norm == "affine" else ()
    return {
        name: tuple(parameter.shape)
        for name, parameter in network.named_parameters()
        if name.rpartition(".")[0] not in affine
    }
