"""The presets against values written by hand from what their sources have."""

import re
from dataclasses import fields

import pytest

from nlcore.checkpoints import PUBLISHED
from nlcore.video import RECIPES, NetworkSpec, Recipe, placement, recipe

#: Preset -> field -> value. None of these is computed from another preset.
EXPECTED = {
    "paper": {
        **{"frames": 32, "stride": 2, "sampling": "paper", "jitter": (256, 320), "crop": 224},
        **{"batch": 64, "clips_per_device": 8, "iterations": 400_000, "epochs": None},
        **{"base_rate": 0.01, "steps": (150_000, 300_000), "factors": (1, 0.1, 0.01)},
        **{"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "undecayed": ("batch_norm",)},
        **{"clip_norm": None, "batch_norm": "trained", "precise_statistics": 200},
        **{"initial": "imagenet", "initial_recipe": None, "block_init": "he"},
        **{"test_clips": 10, "test_crops": 1, "test_short_side": 256, "test_crop": None},
        **{"merge": "mean", "loss": "softmax_cross_entropy", "stated_videos": 246_535},
    },
    "paper_128": {
        **{"frames": 128, "stride": 1, "sampling": "paper", "jitter": (256, 320), "crop": 224},
        **{"batch": 16, "clips_per_device": 2, "iterations": 400_000, "epochs": None},
        **{"base_rate": 0.0025, "steps": (150_000, 300_000), "factors": (1, 0.1, 0.01)},
        **{"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "undecayed": ("batch_norm",)},
        **{"clip_norm": None, "batch_norm": "affine", "precise_statistics": 0},
        **{"initial": "network", "initial_recipe": "paper", "block_init": "he"},
        **{"test_clips": 10, "test_crops": 1, "test_short_side": 256, "test_crop": None},
        **{"merge": "mean", "loss": "softmax_cross_entropy", "stated_videos": 246_535},
    },
    "charades": {
        **{"frames": 128, "stride": 1, "sampling": "paper", "jitter": (329, 411), "crop": 288},
        **{"batch": 8, "clips_per_device": 1, "iterations": 200_000, "epochs": None},
        **{"base_rate": 0.00125, "steps": (75_000, 150_000), "factors": (1, 0.1, 0.01)},
        **{"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "undecayed": ("batch_norm",)},
        **{"clip_norm": None, "batch_norm": "affine", "precise_statistics": 0},
        **{"initial": "network", "initial_recipe": "paper_128", "block_init": "he"},
        **{"test_clips": 10, "test_crops": 1, "test_short_side": 320, "test_crop": None},
        **{"merge": "max", "loss": "sigmoid_cross_entropy", "stated_videos": 8_000},
    },
    "caffe2": {
        **{"frames": 32, "stride": 2, "sampling": "caffe2", "jitter": (256, 320), "crop": 224},
        **{"batch": 64, "clips_per_device": 8, "iterations": 400_000, "epochs": None},
        **{"base_rate": 0.01, "steps": (150_000, 300_000), "factors": (1, 0.1, 0.01)},
        **{"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "undecayed": ("batch_norm",)},
        **{"clip_norm": None, "batch_norm": "trained", "precise_statistics": 200},
        **{"initial": "imagenet", "initial_recipe": None, "block_init": "normal"},
        **{"test_clips": 10, "test_crops": 3, "test_short_side": 256, "test_crop": 256},
        **{"merge": "sum", "loss": "softmax_cross_entropy", "stated_videos": 234_643},
    },
    "caffe2_128": {
        **{"frames": 128, "stride": 1, "sampling": "caffe2", "jitter": (256, 320), "crop": 224},
        **{"batch": 16, "clips_per_device": 2, "iterations": 400_000, "epochs": None},
        **{"base_rate": 0.0025, "steps": (150_000, 300_000), "factors": (1, 0.1, 0.01)},
        **{"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "undecayed": ("batch_norm",)},
        **{"clip_norm": None, "batch_norm": "affine", "precise_statistics": 0},
        **{"initial": "baseline", "initial_recipe": "caffe2", "block_init": "normal"},
        **{"test_clips": 10, "test_crops": 3, "test_short_side": 256, "test_crop": 256},
        **{"merge": "sum", "loss": "softmax_cross_entropy", "stated_videos": 234_643},
    },
    "slowfast": {
        **{"frames": 8, "stride": 8, "sampling": "slowfast", "jitter": (256, 320), "crop": 224},
        **{"batch": 64, "clips_per_device": 8, "iterations": None, "epochs": 118},
        **{"base_rate": 0.01, "steps": (44, 88), "factors": (1, 0.1, 0.01), "warmup": 0},
        **{"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "undecayed": ("batch_norm",)},
        **{"clip_norm": None, "batch_norm": "trained", "precise_statistics": 200},
        **{"initial": "imagenet", "initial_recipe": None, "block_init": "he_fan_out"},
        **{"test_clips": 10, "test_crops": 3, "test_short_side": 256, "test_crop": 256},
        **{"merge": "sum", "loss": "softmax_cross_entropy", "rate_per": "iteration"},
    },
    "slowfast_scratch": {
        **{"frames": 8, "stride": 8, "sampling": "slowfast", "jitter": (256, 320), "crop": 224},
        **{"batch": 64, "clips_per_device": 8, "iterations": None, "epochs": 196},
        **{"base_rate": 0.1, "policy": "cosine", "steps": (), "warmup": 34, "warmup_rate": 0.01},
        **{"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "undecayed": ("batch_norm",)},
        **{"clip_norm": None, "batch_norm": "trained", "precise_statistics": 200},
        **{"initial": "random", "initial_recipe": None, "block_init": "he_fan_out"},
        **{"test_clips": 10, "test_crops": 3, "test_short_side": 256, "test_crop": 256},
        **{"merge": "sum", "loss": "softmax_cross_entropy", "zero_residual": True},
    },
    "mmaction2": {
        **{"frames": 32, "stride": 2, "sampling": "mmaction2", "jitter": (256, 256), "crop": 224},
        **{"batch": 64, "clips_per_device": 8, "iterations": None, "epochs": 100},
        **{"base_rate": 0.01, "steps": (40, 80), "factors": (1, 0.1, 0.01), "rate_per": "epoch"},
        **{"momentum": 0.9, "nesterov": False, "weight_decay": 1e-4, "undecayed": ()},
        **{"clip_norm": 40, "batch_norm": "trained", "precise_statistics": 0},
        **{"initial": "imagenet", "initial_recipe": None, "block_init": "normal"},
        **{"test_clips": 10, "test_crops": 3, "test_short_side": 256, "test_crop": 256},
        **{"merge": "mean", "loss": "softmax_cross_entropy", "stated_videos": 240_436},
    },
}


def test_the_names():
    assert list(RECIPES) == list(EXPECTED)
    assert all(recipe(name).name == name for name in EXPECTED)
    assert all(value.devices == 8 for value in RECIPES.values())


@pytest.mark.parametrize("name", EXPECTED)
def test_values(name):
    found = recipe(name)
    assert {field: getattr(found, field) for field in EXPECTED[name]} == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_value_has_a_source(name):
    sources = recipe(name).sources
    assert set(sources) == {f.name for f in fields(Recipe)} - {"name", "sources"}
    origin = {"paper": "Sec.", "charades": "Sec.", "caffe2": "C2", "slowfast": "SlowFast"}
    known = origin.get(name.split("_")[0], "mm")
    allowed = (known, "not used", "the paper states nothing. ", "C2 DATASET.md")
    wrong = {f: s for f, s in sources.items() if known not in s and not s.startswith(allowed)}
    assert wrong == {}
    silent = [f for f, s in sources.items() if s.startswith("the paper states nothing")]
    assert bool(silent) == (name in ("paper", "paper_128", "charades"))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("caffe2", "i3d_nonlocal_32x2"),
        ("caffe2_128", "i3d_nonlocal_128x1"),
        ("slowfast", "I3D_NLN_8x8_R50"),
        ("slowfast_scratch", "I3D_NLN_8x8_R50"),
        (
            "mmaction2",
            "i3d_imagenet-pretrained-r50-nl-embedded-gaussian_8xb8-32x2x1-100e_kinetics400-rgb",
        ),
    ],
)
def test_networks_are_the_published_ones(name, published):
    assert recipe(name).network == PUBLISHED[published].spec


def test_networks_of_the_paper():
    assert recipe("paper").network == NetworkSpec(50, "3x1x1", placement(50, 5))
    assert recipe("paper_128").network == recipe("paper").network
    assert recipe("charades").network == NetworkSpec(101, "3x1x1", placement(101, 5), classes=157)
    assert recipe("paper").network.dropout == 0.5


def test_overrides():
    mine = recipe("paper", batch=8, iterations=600, crop=224)
    assert (mine.batch, mine.iterations, mine.devices) == (8, 600, 1)
    assert mine.name == "paper with batch, iterations"
    assert mine.sources["batch"] == "set by the user. paper: 64"
    assert mine.sources["frames"] == recipe("paper").sources["frames"]
    assert recipe("paper", batch=64) is recipe("paper")


def test_overrides_of_the_network():
    known = recipe("caffe2").network
    changed = recipe(
        "caffe2", network={"classes": 10, "block": {"pairwise": "dot_product"}}
    ).network
    assert changed.classes == 10
    assert dict(changed.block) == {**known.block, "pairwise": "dot_product"}
    assert recipe("paper", network={"blocks": 0}).network.non_local == ()
    deep = recipe("paper", network={"depth": 101, "blocks": 5}).network
    assert deep.non_local == placement(101, 5)
    other = NetworkSpec(50)
    assert recipe("paper", network=other).network is other


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"lr": 1}, TypeError, "lr must be a field of Recipe, one of ["),
        ({"network": {"deep": 1}}, TypeError, "network.deep must be blocks or a field of NetworkS"),
        ({"network": {"depth": 101}}, ValueError, "those of depth 50 are not those of depth 101"),
        (
            {"network": {"blocks": 1, "non_local": []}},
            ValueError,
            "network must have blocks or non_local, not both",
        ),
        ({"network": {"depth": 99, "blocks": 1}}, ValueError, "received 99"),
    ],
    ids=repr,
)
def test_errors(overrides, error, message):
    with pytest.raises(error, match=re.escape(message)):
        recipe("paper", **overrides)


def test_unknown_preset():
    message = f"recipe must be one of {tuple(EXPECTED)}; received 'nature'"
    with pytest.raises(ValueError, match=re.escape(message)):
        recipe("nature")
