"""`hub deployments`: lists deployments, their history, and changes as they happen."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.deploy import SERVER
from hub.cli.screen.output import JSON_FLAG, grid, json_text, print_json, say, table
from hub.cli.screen.wait import show_replicas
from hub.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from hub.client.protocol import Client

__all__ = ["deployments"]

EVERY_S = 0.5
HEADERS = ("DEPLOYMENT", "TASK", "STABLE", "CANARY", "SHADOW", "SINCE")
PAST = ("WHEN", "WHO", "CHANGE", "FROM", "TO", "REASON")
Json = dict[str, Any]


def deployments(
    name: Annotated[str | None, typer.Argument(help="A deployment; default: all.")] = None,
    history: Annotated[
        bool,
        typer.Option(
            "--history",
            help="Also show the history of the deployment.",
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Update the list until Ctrl-C; with --json, print a line for each change."
        ),
    ] = False,
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """List the deployments: stable version, canary with its share, shadow."""
    if history and (name is None or watch):
        raise BadRequest("--history needs a name and excludes --watch: `hub deployments NAME --history`.")
    with Context.load().client(server) as client:
        if watch:
            with suppress(KeyboardInterrupt):
                _watch(client, name, as_json)
            return
        past = client.history(name) if name and history else None
        found = _select(client, name, may_be_removed=past is not None)
        replicas = client.replicas()["replicas"]
        if as_json:
            past_json = {} if past is None else {"history": past}
            print_json({"deployments": found, "replicas": replicas, **past_json})
        else:
            _show(found, past)
            show_replicas(replicas)


def _select(client: Client, name: str | None, *, may_be_removed: bool) -> list[Json]:
    """Return all deployments, or the one of that name; with `may_be_removed`, none if it was removed."""
    every = client.deployments()
    found = [one for one in every if name in (None, one["name"])]
    if name and not found and not may_be_removed:
        raise NotFound.of("deployment", name, (one["name"] for one in every))
    return found


def _show(found: Sequence[Json], past: Sequence[Json] | None) -> None:
    if found:
        table(HEADERS, [_row(one) for one in found])
    elif past is None:
        say("Nothing is deployed. Put a version live with `hub deploy NAME@N --as DEPLOYMENT`.")
    else:
        say("It is no longer deployed.")
    if past is not None:
        say("")
        table(PAST, [_past(change) for change in past])


def _row(one: Json) -> list[str]:
    canary, shadow = one["canary"], one["shadow"]
    share = f"{canary['version']} {canary['percent']:g} %" if canary else "-"
    return [
        one["name"],
        one["task"],
        one["version"],
        share + (" guarded" if canary and canary["guard"] else ""),
        shadow["version"] if shadow else "-",
        _when(one["updated"])[:16],
    ]


def _past(change: Json) -> list[str]:
    before, after = change["before"] or "-", change["after"] or "-"
    return [_when(change["when"]), change["who"], change["kind"], before, after, change["reason"]]


def _when(moment: str) -> str:
    return moment[:19].replace("T", " ")


def _watch(client: Client, name: str | None, as_json: bool) -> None:
    if as_json:
        for change in _changes(client, name):
            sys.stdout.write(json_text(change) + "\n")
            sys.stdout.flush()
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        while True:
            found = _select(client, name, may_be_removed=True)
            live.update(grid(HEADERS, [_row(one) for one in found]), refresh=True)
            time.sleep(EVERY_S)


def _changes(client: Client, name: str | None) -> Iterator[Json]:
    """Yield each deployment now and after each change, and once when it is removed."""
    known: dict[str, Json] = {}
    while True:
        now = {one["name"]: one for one in _select(client, name, may_be_removed=True)}
        yield from (one for key, one in now.items() if known.get(key) != one)
        yield from ({"name": key, "removed": True} for key in known.keys() - now.keys())
        known = now
        time.sleep(EVERY_S)
