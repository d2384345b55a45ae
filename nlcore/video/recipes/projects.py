"""The recipes of SlowFast and mmaction2: each value with the place where it was read.

SlowFast is facebookresearch/SlowFast, commit 287ec00. mmaction2 is open-mmlab/mmaction2, commit
4d6c934.
"""

from __future__ import annotations

from nlcore.video.published_networks import published
from nlcore.video.recipes.authors import Stated

#: Names of places in the sources -> where they are.
PROJECTS_PLACES = {
    "SlowFast": "github.com/facebookresearch/SlowFast, commit 287ec00",
    "SlowFast config": "configs/Kinetics/I3D_NLN_8x8_R50_IN1K.yaml",
    "SlowFast scratch config": "configs/Kinetics/I3D_NLN_8x8_R50.yaml",
    "SlowFast defaults": "slowfast/config/defaults.py",
    "mmaction2": "github.com/open-mmlab/mmaction2, commit 4d6c934",
    "mmaction2 config": "configs/recognition/i3d/i3d_imagenet-pretrained-r50-nl-embedded-gaussian_"
    "8xb8-32x2x1-100e_kinetics400-rgb.py",
    "mmaction2 schedule": "configs/_base_/schedules/sgd_100e.py",
    "mmaction2 model": "configs/_base_/models/i3d_r50.py",
    "mmcv": "github.com/open-mmlab/mmcv, version 2.2.0, mmcv/cnn/bricks/non_local.py",
}

_CONFIG, _SCRATCH, _DEFAULTS = "SlowFast config", "SlowFast scratch config", "SlowFast defaults"
_MMACTION2, _SCHEDULE, _MODEL = "mmaction2 config", "mmaction2 schedule", "mmaction2 model"

SLOWFAST: Stated = {
    "network": (
        published("I3D_NLN_8x8_R50").spec,
        "SlowFast config and video_model_builder.py",
    ),
    "frames": (8, _CONFIG),
    "stride": (8, _CONFIG),
    "sampling": ("slowfast", "SlowFast slowfast/datasets"),
    "jitter": ((256, 320), _CONFIG),
    "crop": (224, _CONFIG),
    "flip": (True, f"{_DEFAULTS}: RANDOM_FLIP"),
    "batch": (64, _CONFIG),
    "clips_per_device": (8, f"{_CONFIG}: 8 GPUs. {_DEFAULTS}: BN.NORM_TYPE batchnorm"),
    "stated_videos": (246_535, "SlowFast states none. C2 DATASET.md: Kinetics-400's list"),
    "iterations": (None, "SlowFast counts epochs"),
    "epochs": (118, _CONFIG),
    "last_batch": ("dropped", "SlowFast loader.py: drop_last"),
    "base_rate": (0.01, _CONFIG),
    "policy": ("steps", _CONFIG),
    "steps": ((44, 88), f"{_CONFIG}: STEPS [0, 44, 88, 118]"),
    "factors": ((1.0, 0.1, 0.01), f"{_CONFIG}: LRS, whose fourth is not used"),
    "warmup": (0.0, f"{_DEFAULTS}: WARMUP_EPOCHS 0"),
    "warmup_rate": (0.0, "not used: no warm-up"),
    "rate_per": ("iteration", "SlowFast train_net.py: epoch_exact"),
    "momentum": (0.9, _CONFIG),
    "dampening": (0.0, _DEFAULTS),
    "nesterov": (True, _DEFAULTS),
    "weight_decay": (1e-4, _CONFIG),
    "undecayed": (("batch_norm",), f"{_DEFAULTS}: BN.WEIGHT_DECAY 0"),
    "clip_norm": (None, f"{_DEFAULTS}: CLIP_GRAD_L2NORM None"),
    "loss": ("softmax_cross_entropy", f"{_CONFIG}: cross_entropy"),
    "batch_norm": ("trained", f"{_DEFAULTS}: FROZEN_BN False"),
    "bn_momentum": (0.1, "SlowFast resnet_helper.py: bn_mmt"),
    "precise_statistics": (200, f"{_CONFIG}: NUM_BATCHES_PRECISE"),
    "initial": ("imagenet", f"{_CONFIG}: CHECKPOINT_INFLATE"),
    "initial_recipe": (None, "not used: ImageNet"),
    "block_init": ("he_fan_out", "SlowFast weight_init_helper.py: c2_msra_fill"),
    "block_identity": (True, f"{_CONFIG}: ZERO_INIT_FINAL_BN, for the block's BN too"),
    "zero_residual": (True, f"{_CONFIG}: ZERO_INIT_FINAL_BN. ImageNet's weights replace it"),
    "frozen": ((), "SlowFast: none"),
    "test_clips": (10, f"{_DEFAULTS}: NUM_ENSEMBLE_VIEWS"),
    "test_crops": (3, f"{_DEFAULTS}: NUM_SPATIAL_CROPS"),
    "test_short_side": (256, _CONFIG),
    "test_crop": (256, f"{_CONFIG}: TEST_CROP_SIZE"),
    "merge": ("sum", f"{_DEFAULTS}: ENSEMBLE_METHOD sum, of softmax scores"),
}

SLOWFAST_SCRATCH: Stated = {
    **{
        field: (value, source.replace(_CONFIG, _SCRATCH))
        for field, (value, source) in SLOWFAST.items()
    },
    "epochs": (196, _SCRATCH),
    "base_rate": (0.1, _SCRATCH),
    "policy": ("cosine", _SCRATCH),
    "steps": ((), "not used: cosine"),
    "factors": ((1.0,), "not used: cosine"),
    "warmup": (34.0, _SCRATCH),
    "warmup_rate": (0.01, f"{_SCRATCH}: WARMUP_START_LR"),
    "initial": ("random", f"{_SCRATCH}: no checkpoint"),
    "initial_recipe": (None, "not used: random"),
    "zero_residual": (True, f"{_SCRATCH}: ZERO_INIT_FINAL_BN"),
}

MMACTION2: Stated = {
    "network": (
        published(
            "i3d_imagenet-pretrained-r50-nl-embedded-gaussian_8xb8-32x2x1-100e_kinetics400-rgb"
        ).spec,
        "mmaction2 config and model",
    ),
    "frames": (32, _MMACTION2),
    "stride": (2, _MMACTION2),
    "sampling": ("mmaction2", f"{_MMACTION2}: SampleFrames, MultiScaleCrop"),
    "jitter": ((256, 256), f"{_MMACTION2}: Resize to 256, then MultiScaleCrop of 1 and 0.8"),
    "crop": (224, _MMACTION2),
    "flip": (True, _MMACTION2),
    "batch": (64, f"{_MMACTION2}: batch_size 8, base_batch_size 64"),
    "clips_per_device": (8, f"{_MMACTION2}: batch_size 8"),
    "stated_videos": (240_436, "mmaction2 tools/data/kinetics/README.md"),
    "iterations": (None, "mmaction2 counts epochs"),
    "epochs": (100, _SCHEDULE),
    "last_batch": ("kept", f"{_MMACTION2}: no drop_last"),
    "base_rate": (0.01, _SCHEDULE),
    "policy": ("steps", _SCHEDULE),
    "steps": ((40, 80), _SCHEDULE),
    "factors": ((1.0, 0.1, 0.01), f"{_SCHEDULE}: gamma 0.1"),
    "warmup": (0.0, f"{_SCHEDULE}: none"),
    "warmup_rate": (0.0, "not used: no warm-up"),
    "rate_per": ("epoch", f"{_SCHEDULE}: by_epoch"),
    "momentum": (0.9, _SCHEDULE),
    "dampening": (0.0, f"{_SCHEDULE}: torch's default"),
    "nesterov": (False, f"{_SCHEDULE}: torch's default"),
    "weight_decay": (1e-4, _SCHEDULE),
    "undecayed": ((), f"{_SCHEDULE}: all weights are decayed"),
    "clip_norm": (40.0, _SCHEDULE),
    "loss": ("softmax_cross_entropy", "mmaction2 heads/base.py"),
    "batch_norm": ("trained", f"{_MODEL}: norm_eval False"),
    "bn_momentum": (0.1, "mmaction2: torch's default"),
    "precise_statistics": (0, f"{_MMACTION2}: none"),
    "initial": ("imagenet", f"{_MODEL}: torchvision's resnet50"),
    "initial_recipe": (None, "not used: ImageNet"),
    "block_init": ("normal", "mmcv: std 0.01. Its W_z has He's initial weights"),
    "block_identity": (True, "mmcv: zeros_init"),
    "zero_residual": (False, f"{_MODEL}: zero_init_residual False"),
    "frozen": ((), "mmaction2 resnet3d.py: frozen_stages -1"),
    "test_clips": (10, _MMACTION2),
    "test_crops": (3, f"{_MMACTION2}: ThreeCrop"),
    "test_short_side": (256, _MMACTION2),
    "test_crop": (256, _MMACTION2),
    "merge": ("mean", f"{_MODEL}: average_clips prob"),
}
