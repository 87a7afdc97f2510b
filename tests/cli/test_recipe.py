"""`hub recipe`: the schema of recipes, and a recipe made by looking at data."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from hub.cli.main import app
from hub.training.recipe_schema import recipe_schema


def hub_recipe(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["recipe", *map(str, arguments)])


def test_the_schema_is_printed_or_written(tmp_path: Path) -> None:
    shown = hub_recipe("schema")
    assert json.loads(shown.stdout) == recipe_schema()
    assert hub_recipe("schema", "-o", tmp_path / "recipe.schema.json").exit_code == 0
    assert json.loads((tmp_path / "recipe.schema.json").read_text()) == recipe_schema()
