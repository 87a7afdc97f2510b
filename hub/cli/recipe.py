"""`hub recipe`: the JSON Schema of recipes, and a new recipe made by looking at data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.bars import Bars
from hub.cli.output import JSON_FLAG, print_json, progress, say

if TYPE_CHECKING:
    from hub.bases.cache import Bases
    from hub.training.recipe_new import New

__all__ = ["pairs", "register"]

ENCODER, DECODER = "minilm", "smollm2-135m"
UNKNOWN = 512  # tokens that a base which is not here yet is taken to read

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


@recipes.command()
def new(
    task: Annotated[str, typer.Argument(help="A task of `hub plugins list`.")],
    data: Annotated[str, typer.Argument(help="A file, a folder, or what else a recipe may name.")],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where to write it; none: adapters/NAME."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="FIELD=COLUMN", help="Which column holds a field; repeatable."),
    ] = None,
    base: Annotated[str | None, typer.Option(help="The base to train on.")] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Write a commented recipe for data, which trains as it is."""
    from rich.markup import escape

    folder = out or Path("adapters") / _stem(data)
    made = _new(task, data, folder, pairs(columns or []), base, as_json)
    file, account = folder / "recipe.yaml", made.dataset.account
    if as_json:
        print_json(
            {
                "recipe": str(file),
                "columns": made.recipe.data.columns,
                "labels": dict(made.labels),
                "account": account.to_json(),
            }
        )
        return
    named = ", ".join(f"{field}={column}" for field, column in made.recipe.data.columns.items())
    say(f"wrote {escape(str(file))}: {account.read:,} rows, {escape(named)}.")
    say(f"Next: hub train {escape(str(folder))}")


def pairs(texts: list[str]) -> dict[str, str]:
    """Read `--column` options."""
    from hub.errors import BadRequest

    found = {}
    for text in texts:
        field, _, column = text.partition("=")
        if not field or not column:
            raise BadRequest(f"--column {text}: write FIELD=COLUMN.")
        found[field] = column
    return found


def _stem(data: str) -> str:
    name = data.rstrip("/").replace(":", "/").rpartition("/")[2]
    return name.lstrip(".").partition(".")[0] or "new"


def _new(task: str, data: str, folder: Path, columns: dict[str, str], base: str | None, quiet: bool) -> New:
    from hub.api import HeadKind
    from hub.bases.cache import Bases
    from hub.config import load_settings
    from hub.registry.host import Registry
    from hub.training.recipe_new import new_recipe

    settings = load_settings()
    loaded = Registry.of(settings).task(task)
    chosen = base or (DECODER if loaded.spec.head is HeadKind.GENERATE else ENCODER)
    with progress(quiet) as bars:
        return new_recipe(
            loaded,
            data,
            folder,
            columns=columns,
            base=chosen,
            most_tokens=_most_tokens(chosen, Bases(settings.home)),
            cache=settings.home / "cache" / "packages",
            progress=Bars(bars),
        )


def _most_tokens(base: str, bases: Bases) -> int:
    from hub.errors import InvalidName, NotFound

    try:
        return bases.get(base).max_length
    except (NotFound, InvalidName):
        return UNKNOWN
