"""Recipes by name, changed, and as files."""

import json

import pytest

from nlcore.coco import (
    COCO_RECIPES,
    coco_recipe,
    coco_recipe_from_json,
    coco_recipe_to_json,
    load_coco_recipe,
)


@pytest.mark.parametrize("name", COCO_RECIPES)
def test_files(name, tmp_path):
    recipe = coco_recipe(name, detector={"options": {"box_score_thresh": 0.1}}, batch=4)
    path = tmp_path / "recipe.json"
    path.write_text(coco_recipe_to_json(recipe))
    found = load_coco_recipe(str(path))
    assert found == recipe and found.sources == recipe.sources
    assert found.detector.options == {"box_score_thresh": 0.1}
    assert COCO_RECIPES[name].sources["detector"].startswith("the paper (blocks)")


def test_changes():
    recipe = coco_recipe("detectron_mask", batch=8, detector={"blocks": "none"})
    assert recipe.name == "detectron_mask with batch, detector"
    assert recipe.sources["batch"] == "set by the user. detectron_mask: 16"
    assert recipe.detector.blocks == {}
    assert coco_recipe("detectron_mask", batch=16) is COCO_RECIPES["detectron_mask"]
    found = load_coco_recipe("detectron_mask", ["detector.block.pairwise=dot_product"])
    (block,) = found.detector.blocks.values()
    assert block.pairwise == "dot_product"
    deeper = {"backbone": "resnet101", "blocks": "backbone"}
    assert coco_recipe("detectron_mask", detector=deeper).detector.non_local == ("res4.21",)


def test_a_file_with_a_preset():
    text = json.dumps({"preset": "torchvision_mask", "epochs": 3})
    assert coco_recipe_from_json(text).epochs == 3


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"clips": 3}, "clips must be a field of CocoRecipe"),
        ({"detector": {"depth": 50}}, "detector.depth must be blocks or a field of DetectorSpec"),
        ({"detector": {"backbone": "resnet101"}}, "detector must have blocks or non_local for an"),
        ({"detector": {"blocks": "none", "non_local": ()}}, "not both"),
    ],
)
def test_wrong_changes(change, error):
    with pytest.raises((TypeError, ValueError), match=error):
        coco_recipe("detectron_mask", **change)


@pytest.mark.parametrize(
    ("text", "error"),
    [("{", "a recipe must be JSON"), ("[]", "must be a JSON object"), ("{}", "missing")],
)
def test_wrong_files(text, error):
    with pytest.raises((TypeError, ValueError), match=error):
        coco_recipe_from_json(text)
    with pytest.raises(ValueError, match=r"recipe must be one of .* received 'paper'"):
        coco_recipe("paper")
