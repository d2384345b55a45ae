"""The recipes of the paper and of its authors' code: each value with the place where it was read.

The paper is arXiv 1711.07971. C2 is its authors' code, facebookresearch/video-nonlocal-net, commit
c253ed5. Where the paper states nothing, its recipes have the value of C2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import placement
from nlcore.video.published_networks import published

#: Field -> (value, source).
Stated = Mapping[str, tuple[Any, str]]

#: Names of places in the sources -> where they are.
AUTHORS_PLACES = {
    "Sec.": "sections of the paper, arXiv 1711.07971",
    "C2": "github.com/facebookresearch/video-nonlocal-net, commit c253ed5",
    "C2 defaults": "lib/core/config.py",
    "C2 config": "configs/DBG_kinetics_resnet_8gpu_c2d_nonlocal_400k.yaml",
    "C2 affine config": "configs/DBG_kinetics_resnet_8gpu_c2d_nonlocal_affine_400k.yaml",
    "C2 builder": "lib/models/model_builder_video.py",
    "C2 network": "lib/models/resnet_video_org.py",
    "C2 script": "scripts/run_i3d_nlnet_400k_32f.sh",
    "C2 affine script": "scripts/run_i3d_nlnet_affine_400k_128f.sh",
}

_SILENT = "the paper states nothing. "

PAPER: Stated = {
    "network": (
        NetworkSpec(50, "3x1x1", placement(50, 5)),
        "Table 1, Sec. 4 and Table 2f: NL I3D ResNet-50 with 5 blocks, as an example. Sec. 4.1: "
        "dropout 0.5",
    ),
    "frames": (32, "Sec. 4.1"),
    "stride": (2, "Sec. 4.1: 64 consecutive frames, every other one dropped"),
    "sampling": ("paper", "Sec. 4.1"),
    "jitter": ((256, 320), "Sec. 4.1"),
    "crop": (224, "Sec. 4.1"),
    "flip": (True, f"{_SILENT}C2 builder"),
    "batch": (64, "Sec. 4.1: 8 GPUs of 8 clips"),
    "clips_per_device": (8, "Sec. 4.1"),
    "stated_videos": (246_535, "Sec. 5.1: about 246k. C2 DATASET.md: 246,535"),
    "iterations": (400_000, "Sec. 4.1"),
    "epochs": (None, "Sec. 4.1 counts iterations"),
    "last_batch": ("dropped", "not used: Sec. 4.1 counts iterations"),
    "base_rate": (0.01, "Sec. 4.1"),
    "policy": ("steps", "Sec. 4.1"),
    "steps": ((150_000, 300_000), "Sec. 4.1: every 150k iterations"),
    "factors": ((1.0, 0.1, 0.01), "Sec. 4.1: by a factor of 10"),
    "warmup": (0.0, f"{_SILENT}C2 config: WARMUP_ON False"),
    "warmup_rate": (0.0, "not used: no warm-up"),
    "rate_per": ("iteration", "Sec. 4.1"),
    "momentum": (0.9, "Sec. 4.1"),
    "dampening": (0.0, f"{_SILENT}C2 builder: the momentum is rescaled when the rate changes"),
    "nesterov": (True, f"{_SILENT}C2 config"),
    "weight_decay": (1e-4, "Sec. 4.1"),
    "undecayed": (("batch_norm",), f"{_SILENT}C2 config: WEIGHT_DECAY_BN 0"),
    "clip_norm": (None, f"{_SILENT}C2 builder: none"),
    "loss": ("softmax_cross_entropy", "Sec. 4.1: softmax scores"),
    "batch_norm": ("trained", "Sec. 4.1: BN enabled when fine-tuning"),
    "bn_momentum": (0.1, f"{_SILENT}C2 defaults: BN_MOMENTUM 0.9 in Caffe2's convention"),
    "precise_statistics": (200, f"{_SILENT}C2 defaults: ITER_COMPUTE_PRECISE_BN"),
    "initial": ("imagenet", "Sec. 4 and 4.1: pre-trained on ImageNet, inflated"),
    "initial_recipe": (None, "not used: ImageNet"),
    "block_init": ("he", "Sec. 4.1: the method of He et al. 2015"),
    "block_identity": (True, "Sec. 4.1: the scale of the block's BN starts at 0"),
    "zero_residual": (True, f"{_SILENT}C2 config: BN_INIT_GAMMA 0. ImageNet's weights replace it"),
    "frozen": ((), "Sec. 4.1: all weights are fine-tuned"),
    "test_clips": (10, "Sec. 4.1: evenly from the whole video"),
    "test_crops": (1, "Sec. 4.1: fully convolutional in space"),
    "test_short_side": (256, "Sec. 4.1"),
    "test_crop": (None, "Sec. 4.1: whole frames"),
    "merge": ("mean", "Sec. 4.1: softmax scores averaged over the clips"),
}

PAPER_128: Stated = {
    **PAPER,
    "frames": (128, "Sec. 5.1, longer sequences"),
    "stride": (1, "Sec. 5.1: without subsampling"),
    "batch": (16, "Sec. 5.1: 2 clips per GPU"),
    "clips_per_device": (2, "Sec. 5.1"),
    "iterations": (400_000, "Sec. 5.1: as many as for 32 frames"),
    "base_rate": (0.0025, "Sec. 5.1"),
    "batch_norm": ("affine", "Sec. 5.1: all BN layers frozen. C2 network"),
    "precise_statistics": (0, "Sec. 5.1: all BN layers frozen"),
    "initial": ("network", "Sec. 5.1: the corresponding model of 32 frames"),
    "initial_recipe": ("paper", "Sec. 5.1"),
    "block_init": ("he", "not used: all weights are loaded"),
    "block_identity": (True, "not used: all weights are loaded"),
    "zero_residual": (True, "not used: all weights are loaded"),
}

CHARADES: Stated = {
    **PAPER_128,
    "network": (
        NetworkSpec(101, "3x1x1", placement(101, 5), classes=157),
        "Sec. 5.2 and Table 4: the NL I3D ResNet-101 with 5 blocks, 157 categories",
    ),
    "jitter": ((329, 411), "Sec. 5.2: crops of 224 in [256, 320] resized to 288, rounded"),
    "crop": (288, "Sec. 5.2"),
    "batch": (8, "Sec. 5.2: 1 clip per GPU, and 8 GPUs as in Sec. 4.1"),
    "clips_per_device": (1, "Sec. 5.2"),
    "stated_videos": (8_000, "Sec. 5.2: about 8k"),
    "iterations": (200_000, "Sec. 5.2"),
    "base_rate": (0.00125, "Sec. 5.2"),
    "steps": ((75_000, 150_000), "Sec. 5.2: every 75k iterations"),
    "factors": ((1.0, 0.1, 0.01), "Sec. 5.2: by 10"),
    "loss": ("sigmoid_cross_entropy", "Sec. 5.2: a sigmoid for each category"),
    "initial_recipe": ("paper_128", "Sec. 5.2: from Kinetics, 128 frames"),
    "test_short_side": (320, "Sec. 5.2"),
    "merge": ("max", "the paper states nothing. SlowFast, configs/Charades: ENSEMBLE_METHOD max"),
}

CAFFE2: Stated = {
    **{field: (value, "C2 config") for field, (value, _) in PAPER.items()},
    "network": (
        published("i3d_nonlocal_32x2").spec,
        "C2 network and C2 script",
    ),
    "frames": (32, "C2 script"),
    "stride": (2, "C2 script"),
    "sampling": ("caffe2", "C2 caffe2_customized_ops/video"),
    "flip": (True, "C2 builder: mirror, in customized_video_input_op.h"),
    "stated_videos": (234_643, "C2 defaults and DATASET.md"),
    "epochs": (None, "C2 config counts iterations"),
    "last_batch": ("dropped", "not used: C2 counts iterations"),
    "warmup": (0.0, "C2 config: WARMUP_ON False"),
    "warmup_rate": (0.0, "not used: no warm-up"),
    "rate_per": ("iteration", "C2 lr_policy.py"),
    "dampening": (0.0, "C2 builder: the momentum is rescaled when the rate changes"),
    "undecayed": (("batch_norm",), "C2 config: WEIGHT_DECAY_BN 0, for names with _bn"),
    "clip_norm": (None, "C2 builder: none"),
    "loss": ("softmax_cross_entropy", "C2 network: SoftmaxWithLoss"),
    "bn_momentum": (0.1, "C2 config: BN_MOMENTUM 0.9 in Caffe2's convention"),
    "precise_statistics": (200, "C2 defaults: ITER_COMPUTE_PRECISE_BN"),
    "initial": ("imagenet", "C2 script"),
    "initial_recipe": (None, "not used: ImageNet"),
    "block_init": ("normal", "C2 defaults: NONLOCAL.CONV_INIT_STD 0.01"),
    "block_identity": (True, "C2 defaults: NONLOCAL.BN_INIT_GAMMA 0"),
    "zero_residual": (True, "C2 config: BN_INIT_GAMMA 0. ImageNet's weights replace it"),
    "frozen": ((), "C2: none"),
    "test_crops": (3, "C2 README.md: 3 crops along the longer side"),
    "test_crop": (256, "C2 README.md: an approximation of whole frames"),
    "merge": ("sum", "C2 test_net_video.py. A sum ranks the classes as the mean does"),
}

CAFFE2_128: Stated = {
    **CAFFE2,
    "network": (
        published("i3d_nonlocal_128x1").spec,
        "C2 network and C2 affine script: blocks without BN, those of res3 in windows of 4 frames",
    ),
    "frames": (128, "C2 affine script"),
    "stride": (1, "C2 affine script"),
    **{
        field: (value, "C2 affine config")
        for field, value in {
            "batch": 16,
            "clips_per_device": 2,
            "base_rate": 0.0025,
            "batch_norm": "affine",
            "precise_statistics": 0,
        }.items()
    },
    "initial": ("baseline", "C2 affine script: run_i3d_baseline"),
    "initial_recipe": ("caffe2", "C2 run_i3d_baseline_400k_32f.sh"),
    "block_identity": (True, "C2 affine config: USE_ZERO_INIT_CONV"),
    "zero_residual": (True, "not used: the residual blocks are loaded"),
}
