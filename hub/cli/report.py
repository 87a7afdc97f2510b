"""`hub report`: the page, data and model card of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, error_console, escape, print_json, say
from hub.errors import BadRequest

if TYPE_CHECKING:
    from hub.store.records import Version
    from hub.store.store import Store

__all__ = ["report"]

Json = dict[str, Any]


def report(
    adapter: Annotated[str, typer.Argument(metavar="NAME[@N]", help="A version; without @N, the newest.")],
    as_json: Annotated[bool, JSON_FLAG] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a copy: FILE.html, FILE.json, or FILE.md for the card.",
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Print the path of a version's report, or write a copy of it."""
    from hub.report.write import page_of, read
    from hub.store.content.reports import CARD_FILE, DATA_FILE

    store = Context.load().existing_store
    version = store.get(adapter)
    page = page_of(store, version)
    paths = {"page": page, "data": page.with_name(DATA_FILE), "card": page.with_name(CARD_FILE)}
    if out is not None:
        _copy(paths, out)
    if as_json:
        found = read(store, version)
        for mistake in found["evaluation"]["mistakes"]:
            mistake["texts"] = None  # only a copied file holds texts of rows
        print_json(
            {
                "version": str(version.ref),
                **{name: str(path) for name, path in paths.items()},
                "report": found,
            }
        )
    else:
        _print(version, store, paths, out)
    if open_:
        import webbrowser

        if not webbrowser.open(page.as_uri()):
            error_console().print("No browser was found.")


def _copy(paths: dict[str, Path], out: Path) -> None:
    kinds = {".html": "page", ".json": "data", ".md": "card"}
    kind = kinds.get(out.suffix.lower())
    if kind is None:
        raise BadRequest(f"--output {out}: name a file that ends in {', '.join(kinds)}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(paths[kind].read_bytes())


def _print(version: Version, store: Store, paths: dict[str, Path], out: Path | None) -> None:
    say(f"[bold]{version.ref}[/]")
    for name, path in paths.items():
        say(f"  {name}: {escape(path)}")
    if out is not None:
        say(f"Wrote {escape(out)}.")
