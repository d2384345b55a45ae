"""A training run: its loop, its folder with checkpoints and metrics, its pictures.

No framework is imported. A backend provides a `Learner`, which computes with tensors.
"""

from nlcore.video.running.checkpoint_files import (
    Checkpoint,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from nlcore.video.running.curve_picture import draw_curves
from nlcore.video.running.learner import Learner
from nlcore.video.running.run_folder import RunFolder, load_run
from nlcore.video.running.run_settings import RunSettings
from nlcore.video.running.training_loop import NotFinite, Outcome, run_training
from nlcore.video.running.video_task import index_digest

__all__ = [
    "Checkpoint",
    "Learner",
    "NotFinite",
    "Outcome",
    "RunFolder",
    "RunSettings",
    "draw_curves",
    "index_digest",
    "load_run",
    "newest_checkpoint",
    "read_checkpoint",
    "run_training",
    "write_checkpoint",
]
