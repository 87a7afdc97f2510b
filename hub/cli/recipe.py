"""`hub recipe`: the JSON Schema of recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.output import print_json, say

__all__ = ["register"]

recipes = typer.Typer(help="Recipes: their JSON Schema, and a new one from data.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(recipes, name="recipe")


@recipes.command()
def schema(
    out: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")
    ] = None,
) -> None:
    """Print the JSON Schema of recipes, which editors check them by."""
    from rich.markup import escape

    from hub.training.recipe_schema import recipe_schema

    made = recipe_schema()
    if out is None:
        print_json(made)
        return
    out.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"wrote {escape(str(out))}")
