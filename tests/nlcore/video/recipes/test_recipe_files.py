"""Recipes as JSON, and settings of the command line."""

import json
import re

import pytest

from nlcore.video import RECIPES, load_recipe, recipe, recipe_from_json, recipe_to_json


@pytest.mark.parametrize("name", RECIPES)
def test_json_keeps_every_field(name):
    text = recipe_to_json(recipe(name))
    assert recipe_from_json(text) == recipe(name)
    assert set(json.loads(text)) == set(RECIPES[name].__dataclass_fields__)


def test_overrides_are_kept():
    mine = recipe("caffe2", batch=8, network={"block": {"pairwise": "dot_product"}})
    assert recipe_from_json(recipe_to_json(mine)) == mine


def test_a_file_can_have_a_preset_and_differences(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"preset": "paper", "batch": 8, "iterations": 600}', encoding="utf-8")
    assert load_recipe(str(file)) == recipe("paper", batch=8, iterations=600)
    again = load_recipe(str(file), ["iterations=300", "network.classes=10"])
    assert (again.iterations, again.batch, again.network.classes) == (300, 8, 10)
    assert again.name == "paper with batch, iterations, iterations, network"


def test_settings():
    settings = ["batch=8", "sampling=caffe2", "steps=[10, 20]", "network.depth=101"]
    settings += ["network.blocks=5", "network.block.pairwise=gaussian", "flip=false"]
    found = load_recipe("paper", settings)
    expected = {"depth": 101, "blocks": 5, "block": {"pairwise": "gaussian"}}
    assert found == recipe(
        "paper", batch=8, sampling="caffe2", steps=(10, 20), network=expected, flip=False
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["batch"], "a setting must be FIELD=VALUE; received 'batch'"),
        (["=8"], "a setting must be FIELD=VALUE; received '=8'"),
        (["batch=8", "batch=9"], "batch must be set only once; received 'batch=9' too"),
        (["network=1", "network.depth=50"], "network must be set only once"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_recipe("paper", settings)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", ValueError, "a recipe must be JSON; received text that is not"),
        ("[1]", ValueError, "a recipe must be a JSON object; received list"),
        ('{"batch": 8}', TypeError, "missing: ['name', 'network', 'frames'"),
        ('{"preset": "paper", "size": 8}', TypeError, "size must be a field of Recipe"),
    ],
)
def test_wrong_json(text, error, message):
    with pytest.raises(error, match=re.escape(message)):
        recipe_from_json(text)
    if text.startswith('{"batch"'):
        with pytest.raises(TypeError, match=re.escape("unknown: ['size']")):
            recipe_from_json('{"size": 8}')
