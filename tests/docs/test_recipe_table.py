"""docs/recipes.md names every key as the model has it, and its examples are recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.recipe_table import markdown
from hub.recipe.recipe import load_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_ends_with_the_tables_of_the_model() -> None:
    assert PAGE.endswith(markdown()), "run: python -m docs.recipe_table, and put it at the end of the page"


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_are_recipes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: demo\n{text}", encoding="utf-8")
    assert load_recipe(path).task


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 8
