"""How a network is trained and tested: recipes as data, published ones by name."""

from nlcore.video.recipes.definition import Recipe
from nlcore.video.recipes.presets import RECIPES, recipe
from nlcore.video.recipes.recipe_files import load_recipe, recipe_from_json, recipe_to_json

__all__ = ["RECIPES", "Recipe", "load_recipe", "recipe", "recipe_from_json", "recipe_to_json"]
