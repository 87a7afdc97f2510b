"""`hub explain`: shows the contribution of each word, or patch of an image, to an answer of a version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.pairs import pairs
from hub.cli.reading import file_or_text
from hub.cli.screen.output import JSON_FLAG, escape, print_json, say, table
from hub.data.read.image_cells import takes_file
from hub.errors import BadRequest, first_problem
from hub.visible import masked

if TYPE_CHECKING:
    from hub.explain.explanation import Explanation, ImageExplanation, Word
    from hub.store.records import Version

__all__ = ["explain"]

SHOWN = 10  # words in the table


def explain(
    adapter: Annotated[str, typer.Argument(metavar="NAME[@N]", help="A version; without @N, the newest.")],
    text: Annotated[
        str | None,
        typer.Argument(help="Text for the first text field of the task's request, or the file of an image."),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another field of the request; repeatable."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="gradients (integrated gradients; extra 'explain'), attention (maps), or a plugin's."
        ),
    ] = "gradients",
    target: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="A label, start or end; default: the one that the version chose."),
    ] = None,
    word: Annotated[
        str | None,
        typer.Option(
            help="For tasks with a score per token: the word to explain; default: the most confident one."
        ),
    ] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an HTML page.")] = None,
) -> None:
    """Show how much each word of a text, or each patch of an image, contributes to an answer."""
    context = Context.load()
    registry, store = context.registry, context.existing_store
    version = store.get(adapter)
    values = _request(registry, version, text, field)
    from hub.explain.attribution import ExplainOptions
    from hub.explain.attribution import explain as run
    from hub.explain.explanation import ImageExplanation

    found = run(version, values, ExplainOptions(method, target, word), registry=registry, store=store)
    if html is not None:
        from hub.explain.page import image_page, page

        made = image_page(found) if isinstance(found, ImageExplanation) else page(found)
        html.write_text(made, encoding="utf-8")
    if as_json:
        print_json(found.to_json())
        return
    if isinstance(found, ImageExplanation):
        _print_patches(found)
    else:
        _print(found)
    _print_notes(found)
    if html is not None:
        say(f"Wrote {escape(html)}.")


def _request(registry: Any, version: Version, text: str | None, given: list[str] | None) -> dict[str, Any]:
    """Return the request's fields, validated against its model; the error quotes no text."""
    from pydantic import ValidationError

    loaded = registry.task(version.manifest.serving.task)
    schema = loaded.request.model_json_schema()
    values: dict[str, Any] = pairs(given, "--field", "NAME=VALUE", empty=True)
    if text is not None:
        texts = [name for name, about in schema["properties"].items() if about.get("type") == "string"]
        if not texts:
            raise BadRequest(f"The task {loaded.spec.name!r} has no text field; use --field.")
        given_file = takes_file(schema["properties"][texts[0]])
        values.setdefault(texts[0], file_or_text(text) if given_file else text)
    try:
        loaded.request.model_validate(values)
    except ValidationError as error:
        name, reason = first_problem(error, "request")
        needed = ", ".join(schema.get("required", []))
        raise BadRequest(
            f"{name}: {reason}. The task {loaded.spec.name!r} needs: {needed}. Use --field NAME=VALUE."
        ) from None
    return values


def _print(found: Explanation) -> None:
    from rich.console import Console
    from rich.text import Text

    say(f"[bold]{found.name}@{found.version}[/] [dim]{found.method}[/] {escape(_headline(found))}")
    words = found.merged()
    highest = max((abs(word.score) for word in words), default=0.0)
    console = Console(highlight=False, soft_wrap=True)
    for name, text in found.texts.items():
        line = Text(f"{name}: ", style="dim") if len(found.texts) > 1 else Text()
        shown = Text(masked(text))
        for word in words:
            if word.place.field == name and (style := _style(word.score, highest)):
                shown.stylize(style, word.place.start, word.place.end)
        console.print(line + shown)
    table(("WORD", "SCORE"), [(word.text, f"{word.score:+.4f}") for word in _largest(words)])


def _print_patches(found: ImageExplanation) -> None:
    """Print a square of two columns for each patch, and the patches with the largest scores."""
    from rich.console import Console
    from rich.text import Text

    said = f"[dim]{found.method}[/] {escape(f'{found.target}: {found.score:.3f}')}"
    say(f"[bold]{found.name}@{found.version}[/] {said}")
    console = Console(highlight=False, soft_wrap=True)
    for row in found.patches:
        console.print(Text.assemble(*(("  ", _style(score, found.largest) or "on grey85") for score in row)))
    scored = [
        (row, column, score)
        for row, scores in enumerate(found.patches, 1)
        for column, score in enumerate(scores, 1)
    ]
    largest = sorted(scored, key=lambda one: -abs(one[2]))[:SHOWN]
    table(
        ("ROW", "COLUMN", "SCORE"),
        [(str(row), str(column), f"{score:+.4f}") for row, column, score in largest],
    )


def _print_notes(found: Explanation | ImageExplanation) -> None:
    if found.convergence_delta is not None:
        delta = f"{found.convergence_delta:+.2g}"
        say(f"[dim]{found.steps} steps; convergence delta {delta}[/]")
    if found.rows > 1:
        say(f"[dim]The request was split into {found.rows} rows; this is row {found.row + 1}.[/]")


def _headline(found: Explanation) -> str:
    place = found.places[found.position] if found.position is not None else None
    at = f" at {found.texts[place.field][place.start : place.end]!r}" if place else ""
    return f"{found.target}{at}: {found.score:.3f}"


def _largest(words: list[Word]) -> list[Word]:
    return sorted(words, key=lambda word: -abs(word.score))[:SHOWN]


def _style(score: float, highest: float) -> str:
    """Return a background: green for words that raise the target's score, red for those that lower it."""
    share = abs(score) / highest if highest else 0.0
    if share < 0.05:
        return ""
    other = round(230 - 130 * share)
    shade = f"{other},230,{other}" if score > 0 else f"240,{other},{other}"
    return f"black on rgb({shade})"
