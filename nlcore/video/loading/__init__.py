"""The clips of training, validation and testing, loaded by processes. No framework is imported."""

from nlcore.video.loading.batches import (
    Batch,
    assigned_slots,
    training_batches,
    validation_batches,
)
from nlcore.video.loading.clip_sources import (
    EvaluationClips,
    LoadedClip,
    TrainingClips,
    ValidationClips,
    views_of,
)
from nlcore.video.loading.targets import check_targets, target_of
from nlcore.video.loading.worker_pool import LoadingError, Workers

__all__ = [
    "Batch",
    "EvaluationClips",
    "LoadedClip",
    "LoadingError",
    "TrainingClips",
    "ValidationClips",
    "Workers",
    "assigned_slots",
    "check_targets",
    "target_of",
    "training_batches",
    "validation_batches",
    "views_of",
]
