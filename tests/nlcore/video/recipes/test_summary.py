"""What a recipe amounts to, in numbers written by hand."""

from dataclasses import replace

import pytest

from nlcore.video import RECIPES, NetworkSpec, Recipe, placement, recipe
from nlcore.video.published_networks import published
from nlcore.video.recipes.summary import (
    GROUPS,
    field_text,
    network_text,
    phases,
    places,
    shown,
    totals,
)


def test_every_field_is_in_one_group():
    grouped = [field for fields in GROUPS.values() for field in fields]
    assert sorted([*grouped, "name", "sources"]) == sorted(Recipe.__dataclass_fields__)


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_not_used_is_not_shown(name):
    found = recipe(name)
    rows = [row for group in GROUPS for row in shown(found, group)]
    names = {field for field, _, _ in rows}
    assert ("iterations" in names) != ("epochs" in names)
    assert ("warmup_rate" in names) == (name == "slowfast_scratch")
    assert ("steps" in names) == (name != "slowfast_scratch")
    assert all(value and source for _, value, source in rows)


def test_texts():
    found = recipe("paper")
    texts = {field: field_text(found, field) for field in Recipe.__dataclass_fields__}
    assert texts["jitter"] == "256 to 320"
    assert texts["iterations"] == "400,000"
    assert texts["factors"] == "1, 0.1, 0.01"
    assert (texts["clip_norm"], texts["test_crop"], texts["frozen"]) == (
        "none",
        "whole frames",
        "none",
    )
    assert (texts["nesterov"], texts["weight_decay"]) == ("yes", "0.0001")


def test_networks():
    assert network_text(NetworkSpec()) == (
        "C2D ResNet-50, no non-local blocks, 400 classes, dropout 0.5"
    )
    dot = NetworkSpec(101, "3x3x3", placement(101, 1), {"pairwise": "dot_product"}, classes=7)
    assert network_text(dot) == (
        "I3D 3x3x3 ResNet-101, 1 non-local block (res4.21) with f = dot_product, 7 classes, "
        "dropout 0.5"
    )
    authors = published("c2d_nonlocal_32x2").spec
    assert network_text(replace(authors, non_local=("res4.4",))) == (
        "C2D ResNet-50, 1 non-local block (res4.4) of dialect caffe2, 400 classes, dropout 0.5, "
        "head windows"
    )


def test_phases():
    found = phases(recipe("paper"), 256_000)
    assert [(p.iteration, p.epoch, p.rate) for p in found] == [
        (0, 0.0, 0.01),
        (150_000, 37.5, 0.001),
        (300_000, 75.0, 0.0001),
        (399_999, 399_999 * 64 / 256_000, 0.0001),
    ]
    scratch = phases(recipe("slowfast_scratch"), 6400)
    assert [p.iteration for p in scratch] == [0, 3400, 19_599]
    assert [p.epoch for p in scratch[:2]] == [0, 34]
    assert scratch[0].rate == 0.01
    short = phases(recipe("paper", iterations=600), 1000)
    assert [p.iteration for p in short] == [0, 599]


def test_totals():
    found = dict(totals(recipe("paper"), 246_535))
    assert found["clips"] == "25,600,000: 64 an iteration, 8 on each of 8 devices"
    assert found["epochs"] == "103.8"  # 25,600,000 / 246,535
    assert found["frames decoded"] == "819,200,000"
    assert found["test views"] == "10 a video, of whole frames, shorter side 256"
    assert "never reached" not in found
    mine = dict(totals(recipe("mmaction2", batch=8, epochs=50), 1000))
    assert mine["iterations"] == "6,250"
    assert mine["clips"] == "50,000: 8 an iteration, 8 on 1 device"
    assert mine["test views"] == "30 a video, of 256 x 256 pixels, shorter side 256"
    assert mine["never reached"] == "steps 80, which are after the end"


def test_places_are_those_that_are_named():
    assert set(places(recipe("paper"))) == {"Sec.", "C2", "C2 defaults", "C2 config", "C2 builder"}
    named = {"SlowFast", "SlowFast config", "SlowFast defaults", "C2"}
    assert set(places(recipe("slowfast"))) == named
    assert "mmcv" in places(recipe("mmaction2"))
