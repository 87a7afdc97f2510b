"""`hub adapters`: lists, shows, imports, exports and removes versions in the store."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.pairs import json_pairs
from hub.cli.screen.output import JSON_FLAG, confirm, escape, print_json, say, table
from hub.errors import BadRequest, InvalidName
from hub.names import parse_version_ref

if TYPE_CHECKING:
    from hub.imports.folder import Imported
    from hub.registry.host import Registry
    from hub.store.records import Version
    from hub.store.store import Store

__all__ = ["commands", "split_labels"]

commands = typer.Typer(help="List, show, import, export and remove adapter versions.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(metavar="NAME[@N]", help="A version; without @N, the newest.")]


@commands.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="Only the versions of this adapter.")] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """List versions: task, base, metric, and where each is live."""
    store = Context.load().existing_store
    versions = store.versions(name) if name is None else store.versions(store.get(name).name)
    live = _live(store)
    if as_json:
        print_json([_summary(version, live) for version in versions])
    elif versions:
        rows = [_row(version, live) for version in versions]
        table(("VERSION", "TASK", "BASE", "METRIC", "LIVE AS", "CREATED"), rows)
    else:
        say("No adapter is stored yet. Train one with `hub train`, or import one with `hub adapters import`.")


@commands.command()
def show(ref: Ref, as_json: Annotated[bool, JSON_FLAG] = False) -> None:
    """Show the details of one version."""
    store = Context.load().existing_store
    version = store.get(ref)
    live = _live(store)
    if as_json:
        print_json({**_summary(version, live), "manifest": version.manifest.model_dump(mode="json")})
        return
    say(f"[bold]{version.ref}[/]  [dim]{version.sha256}[/]")
    table(("", ""), [(key, value) for key, value in _facts(version, live) if value])


@commands.command("import")
def import_(  # noqa: PLR0913, PLR0917 - a command's options
    folder: Annotated[Path, typer.Argument(help="A PEFT folder: adapter_config.json and its safetensors.")],
    name: Annotated[
        str | None, typer.Argument(help="Name of the adapter; default: the folder's name.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of the adapter; not needed with a manifest.json.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base it was trained on, as `hub base list` shows.")
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            help='Labels in the order of the outputs: a,b,c; quote one with a comma: a,"b, c". '
            "Default: id2label in the folder's config.json. Of a task with ordered levels: the levels."
        ),
    ] = "",
    option: Annotated[list[str] | None, typer.Option(help="An option of the task, key=value.")] = None,
    max_length: Annotated[int | None, typer.Option(min=8, help="Maximum length of a row, in tokens.")] = None,
    merged: Annotated[
        bool,
        typer.Option(
            "--merged", help="Serve it from its own merged copy of the base; works with any PEFT method."
        ),
    ] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Store an adapter folder, exported by GraftHub or saved by PEFT."""
    from hub.imports.folder import Described, import_folder

    context = Context.load()
    options = json_pairs(option, "--option", empty=True)
    described = Described(task, base, split_labels(labels), options, max_length, merged)
    imported = import_folder(folder, name or folder.resolve().name, described, context)
    if as_json:
        origin = {
            "converted_from": imported.converted_from,
            "trained_on": imported.trained_on,
            "renamed": imported.renamed,
        }
        print_json({**_summary(imported.version, _live(context.store)), **origin})
    else:
        _print_imported(imported, base, context.registry)


def split_labels(text: str) -> list[str]:
    """Parse labels as a line of CSV: a label with a comma is quoted.

    Raises:
        BadRequest: a label is empty, or a quote is not closed.
    """
    if not text.strip():
        return []
    try:
        [labels] = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise BadRequest(f'--labels: {error}. Write a,b,c; quote a label with a comma: a,"b, c".') from None
    labels = [label.strip() for label in labels]
    if not all(labels):
        raise BadRequest(f"--labels: label {labels.index('') + 1} is empty.")
    return labels


def _print_imported(imported: Imported, base: str | None, registry: Registry) -> None:
    from hub.serving.control.fitness import misfit

    version = imported.version
    if imported.converted_from:
        say(f"Converted from {imported.converted_from}, which changes the base, to LoRA of twice the rank.")
    if imported.renamed:
        say("Renamed its modules: transformers 4, with which it was saved, had other names for them.")
    if imported.trained_on:
        say(
            f"Check the base: the adapter's config names {escape(imported.trained_on)}, and it was imported "
            f"for {base}. On a base other than the one it was trained on, its answers are wrong."
        )
    say(f"Stored [bold]{version.ref}[/] for the task {version.manifest.serving.task}.")
    if reason := misfit(version, registry):
        say(f"[bold yellow]It may not fit the task[/]: {escape(reason)}")
    say(f"Next: hub deploy {version.ref} --as {version.name}")


@commands.command()
def export(
    ref: Ref,
    folder: Annotated[Path, typer.Argument(help="A folder that is absent or empty.")],
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Write a version as a plain PEFT folder with a model card."""
    store = Context.load().existing_store
    version = store.get(ref)
    written = store.export(version.ref, folder)
    if as_json:
        print_json({"version": str(version.ref), "folder": str(written)})
        return
    say(f"Wrote [bold]{version.ref}[/] to {escape(written)}; its README.md shows how to load it.")


@commands.command()
def rm(
    ref: Annotated[str, typer.Argument(metavar="NAME@N", help="The version to remove.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Remove one version for good; refused while a deployment needs it."""
    store = Context.load().existing_store
    if parse_version_ref(ref).number is None:
        known = ", ".join(str(version.ref) for version in store.versions(store.get(ref).name))
        raise InvalidName(f"Name the version of {ref} to remove. Available: {known}.")
    version = store.get(ref)
    if not yes:
        confirm(f"Remove {version.ref} ({version.sha256[:12]}) for good?", as_json)
    store.remove(version.ref)
    if as_json:
        print_json({"removed": str(version.ref), "sha256": version.sha256})
        return
    say(f"Removed {version.ref}.")


def _live(store: Store) -> dict[str, list[str]]:
    """Return the deployments that serve each version."""
    live: dict[str, list[str]] = {}
    for deployment in store.deployments():
        live.setdefault(str(deployment.stable.ref), []).append(deployment.name)
    return live


def _metric(version: Version) -> str:
    manifest = version.manifest
    value = manifest.metrics.get(manifest.metric)
    return f"{manifest.metric} {value:.4f}" if value is not None else ""


def _row(version: Version, live: dict[str, list[str]]) -> tuple[object, ...]:
    serving = version.manifest.serving
    where = ", ".join(live.get(str(version.ref), ()))
    created = f"{version.created:%Y-%m-%d %H:%M}"
    return (version.ref, serving.task, serving.base.name, _metric(version), where, created)


def _facts(version: Version, live: dict[str, list[str]]) -> list[tuple[str, str]]:
    from hub.cli.screen.figures import measured_facts
    from hub.export.int8_gate import describe_int8

    manifest, serving = version.manifest, version.manifest.serving
    data = manifest.data
    rows = (
        f"{data.train_rows} for training, {data.eval_rows} held out, {data.invalid_rows} invalid"
        if data
        else ""
    )
    return [
        ("task", f"{serving.task} ({serving.head} head, rows of at most {serving.max_length} tokens)"),
        ("live as", ", ".join(live.get(str(version.ref), ()))),
        ("base", f"{serving.base.name}  {serving.base.fingerprint[:12]}  from {serving.base.source}"),
        ("labels", ", ".join(serving.labels)),
        ("served from", "a merged copy of the base" if serving.merged else "a slot"),
        ("options", json.dumps(serving.settings) if serving.settings else ""),
        *measured_facts(manifest),
        ("int8", describe_int8(manifest)),
        ("data", f"{data.source} ({rows})" if data else ""),
        ("licence", data.licence if data else ""),
        ("origin", f"{manifest.origin} at {version.created:%Y-%m-%d %H:%M:%S} UTC"),
        ("training", f"{manifest.train_seconds:.1f} s" if manifest.train_seconds else ""),
        ("made with", ", ".join(f"{name} {number}" for name, number in manifest.libraries.items())),
        ("folder", str(version.path)),
    ]


def _summary(version: Version, live: dict[str, list[str]]) -> dict[str, Any]:
    manifest, serving = version.manifest, version.manifest.serving
    return {
        "version": str(version.ref),
        "name": version.name,
        "number": version.number,
        "sha256": version.sha256,
        "task": serving.task,
        "head": serving.head.value,
        "base": serving.base.name,
        "labels": list(serving.labels),
        "merged": serving.merged,
        "metric": manifest.metric,
        "metrics": dict(manifest.metrics),
        "live_as": live.get(str(version.ref), []),
        "created": version.created.isoformat(),
        "path": str(version.path),
    }
