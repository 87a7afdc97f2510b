"""`hub top`: a live view of a running server, from its metrics."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.deploy import SERVER
from hub.cli.screen.output import JSON_FLAG, escape, print_json, stdout_console
from hub.errors import HubError, NotReady
from hub.visible import visible

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from hub.client.metrics import Scrape

__all__ = ["top"]

Json = dict[str, Any]
LINES = 12  # of the screen, that are not deployments


def top(
    interval: Annotated[float, typer.Option(help="Seconds between two readings.", min=1, max=60)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one view and exit.")] = False,
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Show calls, latency, queues, slots and tokens of a running server, until Ctrl-C."""
    context, console = Context.load(), stdout_console()
    if once or as_json or not sys.stdout.isatty():
        _, before = _read(context, server)
        time.sleep(interval)
        url, now = _read(context, server)
        found = _figures(url, before, now)
        if as_json:
            print_json(found)
        else:
            console.print(_view(found, rows=None))
        return
    _watch(context, server, interval, console)


def _watch(context: Context, server: str | None, interval: float, console: Console) -> None:
    """Show a view every `interval` seconds; a server that does not answer is asked again."""
    from rich.live import Live

    before: Scrape | None = None
    found: Json | None = None
    with _ctrl_c() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while not pressed.is_set():
            problem = ""
            try:
                url, now = _read(context, server)
                if before:
                    found = _figures(url, before, now)
                before = now
            except HubError as error:
                problem = str(error)
            live.update(_view(found, rows=console.size.height - LINES, problem=problem), refresh=True)
            pressed.wait(interval if found or problem else 1.0)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Set an event at the first Ctrl-C; the second one interrupts.

    A KeyboardInterrupt may be raised where Python ignores exceptions, in a destructor for instance.
    """
    pressed = threading.Event()

    def press(number: int, frame: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _read(context: Context, server: str | None) -> tuple[str, Scrape]:
    """Read the metrics of the server that answers now, which may be another one after a restart.

    Raises:
        NotReady: none answers.
    """
    from hub.client.http import ServerClient
    from hub.client.metrics import read

    with context.client(server) as client:
        if not isinstance(client, ServerClient):
            raise NotReady("No server is running. Start one with `hub serve`, or name one with --server.")
        return str(client.url), read(client.metrics(), time.time())


def _figures(url: str, before: Scrape, now: Scrape) -> Json:
    from hub.client.metrics import figures

    return {"server": url, **figures(before, now)}


def _view(found: Json | None, *, rows: int | None, problem: str = "") -> Group:
    """Lay out figures; of the deployments only the first `rows`, the busiest."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(visible(problem), style="bold red")] if problem else []
    if found is None:
        return Group(*(parts or [Text("Reading ...")]))
    shown = found["deployments"][: None if rows is None else max(rows - len(found["bases"]), 1)]
    hidden = len(found["deployments"]) - len(shown)
    parts += [
        Text.from_markup(_head(found)),
        Text(),
        _table(_BASE, [_base(one) for one in found["bases"]]),
        Text(),
        _table(_DEPLOYMENT, [_deployment(one) for one in shown]),
    ]
    if hidden:
        parts.append(Text(f"and {hidden} more with fewer calls"))
    return Group(*parts)


def _head(found: Json) -> str:
    failed = found["failed_versions"]
    broken = f"   [bold red]{failed} versions cannot be loaded: see hub status[/]" if failed else ""
    return (
        f"[bold]{escape(visible(found['server']))}[/]  generation {found['generation']}  "
        f"{found['calls_s']:.1f} calls/s  failed {_percent(found['failed'])}  "
        f"p50 {_ms(found['p50_ms'])} p99 {_ms(found['p99_ms'])}{broken}"
    )


_BASE = ("BASE", "SLOTS", "WAIT", "RUN", "FILL", "FORWARD", "EVICT/S", "TEXTS", "TOKENS/S", "HITS", "KV")


def _base(one: Json) -> list[str]:
    return [
        escape(one["base"]),
        f"{one['resident']}/{one['slots']}",
        f"{one['waiting_calls']} ({one['waiting_rows']} rows)",
        str(one["running_calls"]),
        _percent(one["batch_fill"]),
        _ms(one["forward_p50_ms"]),
        f"{one['evictions_s']:.1f}",
        f"{one['running_texts']}+{one['waiting_texts']}",
        f"{one['tokens_s']:.0f}",
        _percent(one["prefix_hits"]),
        _percent(one["memory"]),
    ]


_DEPLOYMENT = ("DEPLOYMENT", "VERSION", "TRACK", "CALLS/S", "FAILED", "P50", "P99", "QUEUE", "TOKENS/S")


def _deployment(one: Json) -> list[str]:
    return [
        escape(one["deployment"]),
        escape(_version(one)),
        one["track"],
        f"{one['calls_s']:.1f}",
        _percent(one["failed"]),
        _ms(one["p50_ms"]),
        _ms(one["p99_ms"]),
        _ms(one["queue_p99_ms"]),
        f"{one['tokens_s']:.0f}",
    ]


def _version(one: Json) -> str:
    """Return the version, in parentheses if it is in no slot; calls of pinned versions have several."""
    if not one["version"]:
        return "-"
    return str(one["version"]) if one["resident"] else f"({one['version']})"


def _table(headers: tuple[str, ...], rows: list[list[str]]) -> Table:
    """Return a table whose rows are one line each, however narrow the screen is."""
    from rich.table import Table

    found = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        name = header in ("BASE", "VERSION", "TRACK", "DEPLOYMENT")
        found.add_column(header, no_wrap=True, overflow="ellipsis", justify="left" if name else "right")
    for row in rows:
        found.add_row(*row)
    return found


def _ms(value: float | None) -> str:
    """Write milliseconds in three digits."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value / 1000:.1f}s"
    return f"{value:.0f}ms" if value >= 100 else f"{value:.1f}ms"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}" if value in (0, 1) or value >= 0.1 else f"{value:.1%}"
