"""`hub recipe`: prints the JSON Schema of recipes, and writes a recipe for a data file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.pairs import pairs
from hub.cli.reading import COLUMN, DELIMITER, ENCODING, HEADER, SEPARATOR, reading
from hub.cli.screen.output import JSON_FLAG, escape, print_json, progress, say

if TYPE_CHECKING:
    from hub.data.profile.read_options import Reading
    from hub.data.profile.suggest_recipe import New

__all__ = ["commands"]

ENCODER, DECODER, VISION = "minilm", "smollm2-135m", "vit-s-focus"

commands = typer.Typer(
    help="Write a recipe for a data file; print the JSON Schema of recipes.", no_args_is_help=True
)


@commands.command()
def schema(
    out: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to FILE.")
    ] = None,
) -> None:
    """Print the JSON Schema of recipes, for editors."""
    from hub.recipe.schema import recipe_schema

    made = recipe_schema()
    if out is None:
        print_json(made)
        return
    out.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"wrote {escape(out)}")


@commands.command()
def new(  # noqa: PLR0913, PLR0917 - a command's options
    task: Annotated[str, typer.Argument(help="A task of `hub plugins list`.")],
    data: Annotated[str, typer.Argument(help="A file, a folder, or any source that a recipe takes.")],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write to; default: adapters/NAME."),
    ] = None,
    columns: Annotated[list[str] | None, COLUMN] = None,
    delimiter: Annotated[str | None, DELIMITER] = None,
    header: Annotated[bool | None, HEADER] = None,
    encoding: Annotated[str | None, ENCODING] = None,
    separator: Annotated[str | None, SEPARATOR] = None,
    base: Annotated[str | None, typer.Option(help="The base to train on.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="An option of the task; repeatable."),
    ] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Write a commented recipe for a data file, ready to train."""
    from hub.recipe.yaml_file import parse_scalar

    folder = out or Path("adapters") / _stem(data)
    values = {key: parse_scalar(text) for key, text in pairs(options, "--option").items()}
    given = reading(columns, delimiter, header, encoding, separator)
    made = _new(task, data, folder, given, values, base, as_json)
    file, data_report = folder / "recipe.yaml", made.dataset.data_report
    if as_json:
        print_json(
            {
                "recipe": str(file),
                "columns": made.recipe.data.columns,
                "labels": dict(made.labels),
                "data_report": data_report.to_json(),
            }
        )
        return
    named = ", ".join(f"{field}={column}" for field, column in made.recipe.data.columns.items())
    say(f"wrote {escape(file)}: {data_report.read:,} rows, {escape(named)}.")
    say(f"Next: hub train {escape(folder)}")


def _stem(data: str) -> str:
    name = data.rstrip("/").replace(":", "/").rpartition("/")[2]
    return name.lstrip(".").partition(".")[0] or "new"


def _new(
    task: str,
    data: str,
    folder: Path,
    given: Reading,
    options: dict[str, Any],
    base: str | None,
    quiet: bool,
) -> New:
    from hub.api import HeadKind, InputKind
    from hub.data.profile.suggest_recipe import Choices, new_recipe
    from hub.training.plan import checked_rows

    context = Context.load()
    loaded = context.registry.task(task)
    usual = DECODER if loaded.spec.head is HeadKind.GENERATE else ENCODER
    if loaded.spec.input is InputKind.IMAGE:
        usual = VISION
    bases, cache = context.bases, context.packages
    with progress(quiet) as shown:
        return new_recipe(
            loaded,
            data,
            folder,
            Choices(base or usual, given, options),
            check=partial(checked_rows, registry=context.registry, bases=bases, cache=cache, progress=shown),
            bases=bases,
            cache=cache,
            progress=shown,
        )
