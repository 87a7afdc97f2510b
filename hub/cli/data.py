"""`hub data`: profiles data files and writes the rows that a training run would use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.reading import COLUMN, DELIMITER, ENCODING, HEADER, SEPARATOR, reading
from hub.cli.screen.output import JSON_FLAG, escape, print_json, progress, say, table
from hub.errors import Conflict

if TYPE_CHECKING:
    from hub.data.notes import DataReport
    from hub.data.profile.column_counts import Places
    from hub.data.profile.profile import Profile
    from hub.data.profile.read_options import Reading
    from hub.recipe.recipe import Recipe

__all__ = ["commands"]

Json = dict[str, Any]
PREPARED = "prepared"
SHOWN = 5  # places of one anomaly
MAX_LABELS = 20  # in a table

commands = typer.Typer(
    help="Profile data files, and write the rows that training uses.", no_args_is_help=True
)


@commands.command()
def inspect(  # noqa: PLR0913, PLR0917 - a command's options
    data: Annotated[
        str, typer.Argument(metavar="FILE", help="A file, a folder, or any source that a recipe takes.")
    ],
    task: Annotated[
        str | None, typer.Option(help="The task whose columns to look for; default: guessed.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@N]", help="Read the file with the settings of this version's training data."
        ),
    ] = None,
    columns: Annotated[list[str] | None, COLUMN] = None,
    delimiter: Annotated[str | None, DELIMITER] = None,
    header: Annotated[bool | None, HEADER] = None,
    encoding: Annotated[str | None, ENCODING] = None,
    separator: Annotated[str | None, SEPARATOR] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Also write an HTML page with plots.")
    ] = None,
) -> None:
    """Show columns, lengths, labels, languages, duplicates and anomalies, without quoting any text."""
    given = reading(columns, delimiter, header, encoding, separator)
    found = _profile(data, task, like, given, as_json)
    if html is not None:
        from hub.report.profile_page import page

        html.write_text(page(found), encoding="utf-8")
    if as_json:
        print_json(found.to_json())
        return
    _print_profile(found)
    if html is not None:
        say(f"wrote {escape(html)}")


def _profile(data: str, task: str | None, like: str | None, given: Reading, quiet: bool) -> Profile:
    from hub.data.profile.profile import profile
    from hub.data.profile.read_options import like_version
    from hub.data.profile.sniff import sniff

    context = Context.load()
    registry, cache = context.registry, context.packages
    if like:
        version = context.existing_store.get(like)
        task = task or version.manifest.serving.task
        fields = registry.task(task).task.fields
        given = like_version(data, fields, version.manifest.reading, given, cache)
    loaded = registry.task(task).task if task else None
    with progress(quiet) as show:
        found = sniff(data, Path.cwd(), cache, show, given.settings)
        return profile(found, loaded, task or "", show, columns=given.columns)


def _print_profile(found: Profile) -> None:
    invalid = f", and {found.unread:,} invalid" if found.unread else ""
    say(f"{escape(found.name)}: {found.rows:,} rows{invalid}.")
    quantiles = next((list(one.lengths) for one in found.columns if one.lengths), [])
    headers = ["COLUMN", "USED AS", "FILLED", "DISTINCT", *(f"CHARS {name.upper()}" for name in quantiles)]
    rows = [
        [one.name, one.use, one.filled, one.distinct, *(one.lengths.get(name, "") for name in quantiles)]
        for one in found.columns
    ]
    table(headers, rows)
    for header, counts in (("LABEL", found.labels), ("LANGUAGE", found.languages)):
        if counts:
            say("")
            total = sum(counts.values())
            shown = list(counts.items())[:MAX_LABELS]
            table([header, "ROWS", "SHARE"], [(name, n, f"{n / total:.1%}") for name, n in shown])
            if len(counts) > MAX_LABELS:
                say(f"and {len(counts) - MAX_LABELS} more")
    if found.near_compared < found.compared:
        say(f"Only the first {found.near_compared:,} distinct rows were compared for near duplicates.")
    if found.anomalies:
        say("")
        table(
            ["ANOMALY", "ROWS", "LINES"],
            [(what, places.count, _first_places(places)) for what, places in found.anomalies.items()],
        )


def _first_places(places: Places) -> str:
    return ", ".join(places.first[:SHOWN]) + (", ..." if places.count > SHOWN else "")


@commands.command()
def prepare(
    recipe: Annotated[Path, typer.Argument(help="A recipe, or a folder with recipe.yaml.")],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write to; default: NAME-prepared."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe.")
    ] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Write the training and held-out rows, and list every row that was changed, filtered or invalid."""
    from hub.recipe.recipe import load_recipe

    parsed = load_recipe(recipe, set_ or ())
    folder = out or Path(f"{parsed.name}-{PREPARED}")
    report, data_report = _prepare(parsed, folder, as_json)
    if as_json:
        print_json({"folder": str(folder), **report})
        return
    rows = ", ".join(f"{count:,} {split.replace('_', ' ')}" for split, count in report["rows"].items())
    say(f"wrote {escape(folder)}: {rows}.")
    for line in _lines(data_report, report["data_report"]["invalid"]):
        say(f"  {escape(line)}.")
    say("changes.jsonl lists each row that was changed or filtered and why; report.json counts them.")
    if not report["tokenized"]:
        base = escape(parsed.base)
        say(f"Rows were not tokenized, and hub train may find invalid rows: run hub base pull {base} first.")


def _prepare(recipe: Recipe, folder: Path, quiet: bool) -> tuple[Json, DataReport]:
    from hub.data.dataset import InvalidRows
    from hub.data.prepared import write_prepared
    from hub.training.plan import checked_rows

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not an empty folder. Name another one with -o.")
    context, invalid = Context.load(), InvalidRows(recipe)
    with progress(quiet) as bars:
        dataset, tokenized = checked_rows(
            recipe,
            registry=context.registry,
            bases=context.bases,
            cache=context.packages,
            invalid=invalid,
            progress=bars,
        )
    return write_prepared(dataset, invalid.rows, recipe, folder, tokenized=tokenized), dataset.data_report


def _lines(data_report: DataReport, invalid: int) -> list[str]:
    counts = {
        "invalid": invalid,
        "duplicates": data_report.duplicates,
        "held-out rows that are also training rows": data_report.leaked,
    }
    return [f"{count:,} {what}" for what, count in counts.items() if count] + data_report.lines()
