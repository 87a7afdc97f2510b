"""How commands speak: tables and JSON on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from hub.errors import HubError
from hub.visible import visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

__all__ = ["JSON_FLAG", "error_console", "fail", "grid", "print_json", "progress", "say", "table"]

JSON_FLAG = typer.Option("--json", help="Print one JSON document instead of text.")


def say(text: str) -> None:
    """Print a line for people on stdout; rich markup is honoured, and control characters are made visible."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(visible(text))


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(visible_json(json.dumps(value, indent=2, ensure_ascii=False, default=str)) + "\n")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headers on stdout."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(grid(headers, rows), soft_wrap=not console.is_terminal)


def grid(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Lay rows out under headers."""
    from rich.markup import escape
    from rich.table import Table

    view = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        view.add_column(header, overflow="fold")
    for row in rows:
        view.add_row(*(escape("" if cell is None else visible(str(cell))) for cell in row))
    return view


def error_console() -> Console:
    """Return a console on stderr, for progress bars and messages that are not the result.

    It makes control characters visible in what it prints.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.status import Status

    class Visible(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            shown = (visible(each) if isinstance(each, str) else each for each in objects)
            super().print(*shown, **options)

        def status(self, status: Any, **options: Any) -> Status:
            """Show a text, which is not markup, beside a spinner."""
            return super().status(escape(_one_line(str(status))), **options)

    return Visible(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """Show progress bars on stderr while the block runs; nothing when `quiet`.

    Descriptions are text, not markup: files, adapters and labels have the names that others gave them.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Description(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(_one_line(task.description))

    columns = (Description(""), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=error_console(), disable=quiet, transient=False) as bars:
        yield bars


def _one_line(text: str) -> str:
    return visible(text).replace("\n", "\\n")


def fail(error: HubError) -> NoReturn:
    """Print the error and leave with status 1; with --json on the command line, as JSON on stdout."""
    if "--json" in sys.argv:
        print_json(error.to_json())
    else:
        from rich.markup import escape

        error_console().print(f"[bold red]error[/] [dim]({error.code})[/] {escape(str(error))}")
    raise SystemExit(1)
