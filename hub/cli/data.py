"""`hub data`: a look at rows before they are trained on, and the rows as they will be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.bars import Bars
from hub.cli.output import JSON_FLAG, print_json, progress, say

if TYPE_CHECKING:
    from hub.training.account import Account

__all__ = ["register"]

Json = dict[str, Any]
PREPARED = "prepared"

commands = typer.Typer(help="Data: look at it, and prepare it as training does.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(commands, name="data")


@commands.command()
def prepare(
    recipe: Annotated[Path, typer.Argument(help="A recipe, or a folder with recipe.yaml.")],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where to write; none: NAME-prepared."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe.")
    ] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Write the rows as they would be trained on and held out, and what became of every other one."""
    from rich.markup import escape

    from hub.training.recipe import load_recipe

    parsed = load_recipe(recipe, set_ or ())
    folder = out or Path(f"{parsed.name}-{PREPARED}")
    report, account = _prepare(parsed, folder, as_json)
    if as_json:
        print_json({"folder": str(folder), **report})
        return
    rows = ", ".join(f"{count:,} {split.replace('_', ' ')}" for split, count in report["rows"].items())
    say(f"wrote {escape(str(folder))}: {rows}.")
    for line in _lines(account, report["account"]["rejected"]):
        say(f"  {escape(line)}.")
    say("changes.jsonl says what was changed in a row or why it was left out, report.json how many.")


def _prepare(recipe: Any, folder: Path, quiet: bool) -> tuple[Json, Account]:
    from hub.config import load_settings
    from hub.errors import Conflict
    from hub.registry.host import Registry
    from hub.training.dataset import Refused
    from hub.training.dataset import prepare as prepare_rows
    from hub.training.prepared import write_prepared

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not an empty folder. Name another one with -o.")
    settings, refused = load_settings(), Refused(recipe)
    task = Registry.of(settings).task(recipe.task).task
    with progress(quiet) as bars:
        cache = settings.home / "cache" / "packages"
        dataset = prepare_rows(recipe, task, cache, refused, Bars(bars))
    return write_prepared(dataset, refused.rows, recipe, folder), dataset.account


def _lines(account: Account, rejected: int) -> list[str]:
    counts = {
        "rejected": rejected,
        "duplicates": account.duplicates,
        "held-out rows that were also trained on": account.leaked,
    }
    return [f"{count:,} {what}" for what, count in counts.items() if count] + account.lines()
