"""Output of commands: text, tables and JSON on stdout, progress and errors on stderr."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from hub.errors import BadRequest, HubError
from hub.visible import visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

__all__ = [
    "JSON_FLAG",
    "Bars",
    "confirm",
    "error_console",
    "escape",
    "fail",
    "grid",
    "json_text",
    "print_json",
    "progress",
    "say",
    "stdout_console",
    "table",
    "write_piece",
]

JSON_FLAG = typer.Option("--json", help="Print one JSON document instead of text.")
_BYTES = "download "  # stages with this prefix count bytes
_MEGABYTE = 1_000_000
MAX_WIDTH = 10_000  # characters of a table's line in a file or pipe, where nothing is folded


def escape(value: object) -> str:
    """Return a value as text without rich markup."""
    from rich.markup import escape as escape_markup

    return escape_markup(str(value))


def say(text: str) -> None:
    """Print a line of rich markup on stdout, with control characters made visible."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(visible(text))


def write_piece(text: str) -> None:
    """Write a piece of untrusted text on stdout at once, with control characters made visible."""
    sys.stdout.write(visible(text))
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON for stdout, in ASCII unless that is in UTF-8."""
    is_utf8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    return visible_json(json.dumps(value, indent=indent, ensure_ascii=not is_utf8, default=str))


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headers on stdout."""
    stdout_console().print(grid(headers, rows))


def stdout_console() -> Console:
    """Return a console on stdout that folds and cuts nothing in a file or pipe."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = MAX_WIDTH
    return console


def grid(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a table of rows under headers."""
    from rich.table import Table

    view = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        view.add_column(header, overflow="fold", no_wrap=number == 0)  # the first column names the row
    for row in rows:
        view.add_row(*(escape("" if cell is None else visible(str(cell))) for cell in row))
    return view


def error_console() -> Console:
    """Return a console on stderr, with control characters made visible; the result goes to stdout."""
    from rich.console import Console
    from rich.status import Status

    class Visible(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            shown = (visible(each) if isinstance(each, str) else each for each in objects)
            super().print(*shown, **options)

        def status(self, status: Any, **options: Any) -> Status:
            """Show plain text beside a spinner."""
            return super().status(escape(_one_line(str(status))), **options)

    return Visible(stderr=True, highlight=False, soft_wrap=True)


def confirm(question: str, as_json: bool) -> None:
    """Ask whether to go on; any other answer than yes ends the command.

    Raises:
        BadRequest: stdout is for JSON alone, where nobody may be there to answer.
    """
    if as_json:
        raise BadRequest("Give --yes beside --json.")
    typer.confirm(question, abort=True, err=True)


class Bars:
    """One progress bar for each stage."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total` (0: unknown) and a short note such as the loss; bytes as megabytes."""
        scale, unit = (_MEGABYTE, ", MB") if stage.startswith(_BYTES) else (1, "")
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=None)
        self._bars.update(
            self._tasks[stage],
            description=f"{stage}{unit}{f'  {note}' if note else ''}",
            completed=round(done / scale),
            total=max(round(total / scale), 1) if total else None,
        )


@contextmanager
def progress(quiet: bool = False) -> Iterator[Bars]:
    """Show progress bars on stderr while the block runs; nothing when `quiet`.

    Descriptions are text, not markup: they contain names of files, adapters and labels.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Description(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(_one_line(task.description))

    columns = (Description(""), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=error_console(), disable=quiet, transient=False) as bars:
        yield Bars(bars)


def _one_line(text: str) -> str:
    return visible(text).replace("\n", "\\n")


def fail(error: HubError) -> NoReturn:
    """Print the error and exit with status 1; with --json on the command line, as JSON on stdout."""
    if "--json" in sys.argv:
        print_json(error.to_json())
    else:
        error_console().print(f"[bold red]error[/] [dim]({error.code})[/] {escape(str(error))}")
    raise SystemExit(1)
