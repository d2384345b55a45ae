"""The recipes of SlowFast and mmaction2: each value with the place where it was read.

SlowFast is facebookresearch/SlowFast, commit 287ec00. mmaction2 is open-mmlab/mmaction2, commit
4d6c934.
"""

from __future__ import annotations

from nlcore.video.network import NetworkSpec, placement
from nlcore.video.recipes.authors import Stated

_FIVE = placement(50, 5)
_IMAGENET = "SlowFast, configs/Kinetics/I3D_NLN_8x8_R50_IN1K.yaml"
_SCRATCH = "SlowFast, configs/Kinetics/I3D_NLN_8x8_R50.yaml"
_DEFAULTS = "SlowFast, slowfast/config/defaults.py"
_MMACTION2 = (
    "mmaction2, configs/recognition/i3d/i3d_imagenet-pretrained-r50-nl-embedded-gaussian_8xb8-"
    "32x2x1-100e_kinetics400-rgb.py"
)
_SCHEDULE = "mmaction2, configs/_base_/schedules/sgd_100e.py"
_MODEL = "mmaction2, configs/_base_/models/i3d_r50.py"

SLOWFAST: Stated = {
    "network": (
        NetworkSpec(
            50,
            "3x1x1",
            _FIVE,
            {"subsample_at": "input", "bias": True},
            temporal_strides=(1, 1, 2),
        ),
        f"{_IMAGENET} and slowfast/models/video_model_builder.py",
    ),
    "frames": (8, _IMAGENET),
    "stride": (8, _IMAGENET),
    "sampling": ("slowfast", "SlowFast, slowfast/datasets/decoder.py and transform.py"),
    "jitter": ((256, 320), _IMAGENET),
    "crop": (224, _IMAGENET),
    "flip": (0.5, f"{_DEFAULTS}: RANDOM_FLIP"),
    "mean": ((114.75,) * 3, f"{_DEFAULTS}: 0.45 of 255"),
    "std": ((57.375,) * 3, f"{_DEFAULTS}: 0.225 of 255"),
    "batch": (64, _IMAGENET),
    "clips_per_device": (8, f"{_IMAGENET}: 8 GPUs. {_DEFAULTS}: BN.NORM_TYPE batchnorm"),
    "stated_videos": (246_535, "SlowFast states none. C2, DATASET.md: Kinetics-400's list"),
    "iterations": (None, "SlowFast counts epochs"),
    "epochs": (118, _IMAGENET),
    "last_batch": ("dropped", "SlowFast, slowfast/datasets/loader.py: drop_last"),
    "base_rate": (0.01, _IMAGENET),
    "policy": ("steps", _IMAGENET),
    "steps": ((44, 88), f"{_IMAGENET}: STEPS [0, 44, 88, 118]"),
    "factors": ((1.0, 0.1, 0.01), f"{_IMAGENET}: LRS, whose fourth is not used"),
    "warmup": (0.0, f"{_DEFAULTS}: WARMUP_EPOCHS 0"),
    "warmup_rate": (0.0, "not used: no warm-up"),
    "rate_per": ("iteration", "SlowFast, tools/train_net.py: epoch_exact"),
    "momentum": (0.9, _IMAGENET),
    "dampening": (0.0, _DEFAULTS),
    "nesterov": (True, _DEFAULTS),
    "weight_decay": (1e-4, _IMAGENET),
    "undecayed": (("batch_norm",), f"{_DEFAULTS}: BN.WEIGHT_DECAY 0"),
    "clip_norm": (None, f"{_DEFAULTS}: CLIP_GRAD_L2NORM None"),
    "loss": ("softmax_cross_entropy", f"{_IMAGENET}: cross_entropy"),
    "batch_norm": ("trained", f"{_DEFAULTS}: FROZEN_BN False"),
    "bn_momentum": (0.1, "SlowFast, slowfast/models/resnet_helper.py: bn_mmt"),
    "precise_statistics": (200, f"{_IMAGENET}: NUM_BATCHES_PRECISE"),
    "initial": ("imagenet", f"{_IMAGENET}: CHECKPOINT_INFLATE"),
    "initial_recipe": (None, "not used: ImageNet"),
    "block_init": ("he_fan_out", "SlowFast, slowfast/utils/weight_init_helper.py: c2_msra_fill"),
    "block_identity": (True, f"{_IMAGENET}: ZERO_INIT_FINAL_BN, for the block's BN too"),
    "zero_residual": (True, f"{_IMAGENET}: ZERO_INIT_FINAL_BN. ImageNet's weights replace it"),
    "frozen": ((), "SlowFast: none"),
    "test_clips": (10, f"{_DEFAULTS}: NUM_ENSEMBLE_VIEWS"),
    "test_crops": (3, f"{_DEFAULTS}: NUM_SPATIAL_CROPS"),
    "test_short_side": (256, _IMAGENET),
    "test_crop": (256, f"{_IMAGENET}: TEST_CROP_SIZE"),
    "merge": ("sum", f"{_DEFAULTS}: ENSEMBLE_METHOD sum, of softmax scores"),
}

SLOWFAST_SCRATCH: Stated = {
    **{
        field: (value, source.replace(_IMAGENET, _SCRATCH))
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
        NetworkSpec(50, "3x1x1", _FIVE, {"bias": True}),
        f"{_MMACTION2} and {_MODEL.removeprefix('mmaction2, ')}",
    ),
    "frames": (32, _MMACTION2),
    "stride": (2, _MMACTION2),
    "sampling": ("mmaction2", f"{_MMACTION2}: SampleFrames, MultiScaleCrop"),
    "jitter": ((256, 256), f"{_MMACTION2}: Resize to 256, then MultiScaleCrop of 1 and 0.8"),
    "crop": (224, _MMACTION2),
    "flip": (0.5, _MMACTION2),
    "mean": ((123.675, 116.28, 103.53), _MODEL),
    "std": ((58.395, 57.12, 57.375), _MODEL),
    "batch": (64, f"{_MMACTION2}: batch_size 8, base_batch_size 64"),
    "clips_per_device": (8, f"{_MMACTION2}: batch_size 8"),
    "stated_videos": (240_436, "mmaction2, tools/data/kinetics/README.md"),
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
    "loss": ("softmax_cross_entropy", "mmaction2, mmaction/models/heads/base.py"),
    "batch_norm": ("trained", f"{_MODEL}: norm_eval False"),
    "bn_momentum": (0.1, "mmaction2: torch's default"),
    "precise_statistics": (0, f"{_MMACTION2}: none"),
    "initial": ("imagenet", f"{_MODEL}: torchvision's resnet50"),
    "initial_recipe": (None, "not used: ImageNet"),
    "block_init": ("normal", "mmcv 2.2.0, cnn/bricks/non_local.py: std 0.01"),
    "block_identity": (True, "mmcv 2.2.0, cnn/bricks/non_local.py: zeros_init"),
    "zero_residual": (False, f"{_MODEL}: zero_init_residual False"),
    "frozen": ((), "mmaction2, mmaction/models/backbones/resnet3d.py: frozen_stages -1"),
    "test_clips": (10, _MMACTION2),
    "test_crops": (3, f"{_MMACTION2}: ThreeCrop"),
    "test_short_side": (256, _MMACTION2),
    "test_crop": (256, _MMACTION2),
    "merge": ("mean", f"{_MODEL}: average_clips prob"),
}
