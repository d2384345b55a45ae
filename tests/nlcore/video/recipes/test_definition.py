"""Recipe: its checks, its length, and the linear rule."""

import re

import pytest

from nlcore.video import Recipe, recipe


def test_names():
    assert Recipe.__module__ == "nlcore.video.recipes.definition"
    assert repr(recipe("paper")) == "<Recipe 'paper': batch 64, 400000 iterations, rate 0.01>"
    assert repr(recipe("slowfast")) == "<Recipe 'slowfast': batch 64, 118 epochs, rate 0.01>"


@pytest.mark.parametrize(
    ("field", "value", "error", "expected"),
    [
        ("frames", 0, ValueError, "an int > 0"),
        ("frames", 2.0, TypeError, "an int > 0"),
        ("batch", True, TypeError, "an int > 0"),
        (
            "sampling",
            "random",
            ValueError,
            "one of ('paper', 'caffe2', 'slowfast'",
        ),
        ("jitter", 256, TypeError, "a tuple of 2"),
        ("jitter", (256, 300, 320), TypeError, "a tuple of 2"),
        ("jitter", (320, 256), ValueError, "the smallest and the largest side"),
        ("crop", 257, ValueError, "at most the smallest side, 256"),
        ("flip", 0.5, TypeError, "a bool"),
        ("momentum", 1.5, ValueError, "a float >= 0 and <= 1"),
        ("test_crops", 2, ValueError, "1 or 3"),
        ("batch", 12, ValueError, "a multiple of clips_per_device=8"),
        ("base_rate", float("nan"), ValueError, "a float > 0"),
        ("base_rate", "0.1", TypeError, "a float > 0"),
        ("steps", (300, 150), ValueError, "increase"),
        ("factors", (1.0,), ValueError, "3 numbers, one more than steps"),
        ("rate_per", "epoch", ValueError, "'iteration' for a schedule in iterations"),
        ("warmup", 400_001.0, ValueError, "at most the whole schedule, 400000"),
        ("nesterov", 1, TypeError, "a bool"),
        (
            "undecayed",
            ("bn",),
            ValueError,
            "kinds of ('conv', 'fc', 'bias', 'batch_norm', 'block')",
        ),
        ("undecayed", "bias", TypeError, "a tuple"),
        ("clip_norm", 0, ValueError, "a float > 0"),
        ("loss", "hinge", ValueError, "one of ('softmax_cross_entropy', 'sigmoid_cross_entropy')"),
        ("batch_norm", "frozen", ValueError, "one of ('trained', 'fixed_statistics', 'affine')"),
        ("precise_statistics", -1, ValueError, "an int >= 0"),
        ("initial_recipe", "paper", ValueError, "None for initial='imagenet'"),
        ("block_init", "xavier", ValueError, "one of ('he', 'he_fan_out', 'normal')"),
        ("frozen", ("",), TypeError, "a str that is not empty"),
        ("test_crops", 3, ValueError, "1 for whole frames"),
        ("test_crop", 257, ValueError, "at most test_short_side=256"),
        ("merge", "median", ValueError, "one of ('mean', 'max', 'sum')"),
        ("network", "resnet", TypeError, "a NetworkSpec"),
        ("stated_videos", 0, ValueError, "an int > 0"),
    ],
    ids=str,
)
def test_errors_name_the_field_and_both_values(field, value, error, expected):
    with pytest.raises(error) as caught:
        recipe("paper", **{field: value})
    message = str(caught.value)
    assert message.startswith(f"{field} must ") and expected in message
    entries = value if isinstance(value, tuple) else ()
    assert message.endswith(tuple(f"; received {wrong!r}" for wrong in (value, *entries)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"epochs": 3},
            "one of iterations and epochs must be an int and the other None; "
            "received iterations=400000, epochs=3",
        ),
        (
            {"policy": "cosine"},
            "steps must be empty for policy='cosine'; received (150000, 300000)",
        ),
        (
            {"dampening": 0.9},
            "nesterov needs momentum > 0 and dampening = 0; received momentum=0.9, dampening=0.9",
        ),
        (
            {"batch_norm": "affine"},
            "precise_statistics must be 0 for batch_norm='affine', whose statistics are fixed; "
            "received 200",
        ),
        (
            {"initial_recipe": "paper_128"},
            "initial_recipe must be None for initial='imagenet', which no recipe trains; "
            "received 'paper_128'",
        ),
    ],
    ids=repr,
)
def test_fields_that_depend_on_one_another(overrides, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        recipe("paper", **overrides)


def test_weights_of_a_training_of_your_own_need_no_recipe():
    assert recipe("paper", initial="network").initial_recipe is None


def test_sources_are_of_fields():
    known = recipe("paper")
    values = {name: getattr(known, name) for name in known.__dataclass_fields__}
    with pytest.raises(ValueError, match="sources must be those of fields; received one of 'lr'"):
        Recipe(**{**values, "sources": {"lr": "Sec. 4"}})
    with pytest.raises(TypeError, match="sources must be a mapping"):
        Recipe(**{**values, "sources": "Sec. 4"})


def test_lists_become_tuples():
    mine = recipe("paper", steps=[10, 20], iterations=30, jitter=[256, 300])
    assert (mine.steps, mine.jitter) == ((10, 20), (256, 300))


@pytest.mark.parametrize(
    ("last_batch", "videos", "expected"),
    [("dropped", 128, 2), ("dropped", 191, 2), ("kept", 128, 2), ("kept", 129, 3), ("kept", 1, 1)],
)
def test_iterations_per_epoch(last_batch, videos, expected):
    found = recipe("slowfast", last_batch=last_batch)
    assert found.iterations_per_epoch(videos) == expected
    assert found.total_iterations(videos) == 118 * expected


def test_errors_of_the_schedule():
    with pytest.raises(ValueError, match="videos must be at least batch=64; received 63"):
        recipe("slowfast").total_iterations(63)
    with pytest.raises(ValueError, match=r"videos must be .* 'slowfast' counts epochs"):
        recipe("slowfast").learning_rate(0)
    for wrong in (-1, 400_000):
        message = f"iteration must be from 0 to 399999; received {wrong}"
        with pytest.raises(ValueError, match=message):
            recipe("paper").learning_rate(wrong)


def test_linear_rule_keeps_the_clips():
    half = recipe("paper").scaled(32)  # what C2 has for 4 GPUs: batch 32, rate 0.005
    assert (half.batch, half.base_rate, half.devices) == (32, 0.005, 4)
    assert (half.iterations, half.steps) == (800_000, (300_000, 600_000))
    assert half.batch * half.iterations == 64 * 400_000
    assert "linear rule" in half.sources["base_rate"]
    assert half.sources["frames"] == recipe("paper").sources["frames"]


def test_linear_rule_gives_the_papers_other_rates():
    for name, clips in (("paper_128", 16), ("charades", 8)):
        scaled = recipe("paper", clips_per_device=1).scaled(clips, same="iterations")
        assert scaled.base_rate == recipe(name).base_rate
        assert scaled.iterations == 400_000


def test_linear_rule_in_epochs_keeps_the_schedule():
    scaled = recipe("slowfast_scratch").scaled(512)
    assert (scaled.epochs, scaled.warmup) == (196, 34)
    assert (scaled.base_rate, scaled.warmup_rate) == (0.8, 0.08)
    with pytest.raises(ValueError, match="same must be 'clips' or 'iterations'; received 'epochs'"):
        scaled.scaled(64, same="epochs")
