"""torchvision's Mask R-CNN and Keypoint R-CNN with the paper's blocks. Needs torchvision.

`nlcore.coco` has their specification, recipes, images and results.
"""

from nlcore_torch.detection.detection_evaluation import evaluate
from nlcore_torch.detection.detection_learner import DetectionLearner
from nlcore_torch.detection.detection_training import train
from nlcore_torch.detection.detector_attention import draw_looking
from nlcore_torch.detection.detector_cost import DetectorCost, detector_cost
from nlcore_torch.detection.detector_models import build_detector
from nlcore_torch.detection.detector_start import detector_start

__all__ = [
    "DetectionLearner",
    "DetectorCost",
    "build_detector",
    "detector_cost",
    "detector_start",
    "draw_looking",
    "evaluate",
    "train",
]
