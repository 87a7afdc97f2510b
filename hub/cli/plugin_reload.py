"""`hub plugins reload`, and what commands say about a running server that has other plugins."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.deploy import SERVER
from hub.cli.screen.output import JSON_FLAG, error_console, print_json, say
from hub.errors import HubError, NotReady

if TYPE_CHECKING:
    from hub.client.http import ServerClient
    from hub.client.running_plugins import ComparedPlugin
    from hub.config import Settings
    from hub.registry.discovery import PluginStatus

__all__ = ["add_to", "compare", "hint_reload"]

POLL_S = 0.25
STAGES = {
    "starting": "A new serving process loads",
    "draining": "The previous serving process ends its requests",
}


def add_to(commands: typer.Typer) -> None:
    """Add the command to `hub plugins`."""
    commands.command("reload")(reload_plugins)


def reload_plugins(
    yes: Annotated[
        bool, typer.Option("--yes", help="Even if stored versions that are not live cannot be read any more.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even if live deployments cannot be served any more.")
    ] = False,
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Have the running server take installed, upgraded, enabled, disabled and removed plugins in.

    Each serving process is replaced by a new one, which loads beside it; no request fails.
    """
    from hub.client.http import ServerClient

    context = Context.load()
    with context.client(server) as client:
        if not isinstance(client, ServerClient):
            raise NotReady(
                f"No server of {context.settings.home} runs. The next `hub serve` has what is installed."
            )
        done = _wait(client, client.reload_plugins(yes=yes, force=force))
        found = client.plugins()["plugins"]
    if as_json:
        print_json({"reload": done, "plugins": found})
    else:
        count = done["replaced"]
        say(f"{count} serving {'process runs' if count == 1 else 'processes run'} what is installed.")
        for plugin in found:
            if plugin["state"] in ("broken", "conflict", "refused"):
                what = f"{plugin['name']} is {plugin['state']}: {plugin['reason']}"
                error_console().print(what, markup=False)


def hint_reload(settings: Settings) -> None:
    """Say that a running server of this home keeps its plugins until a reload."""
    from hub.client.http import find_server

    if url := find_server(settings):
        say(f"The server at {url} runs what it started with. To change that: hub plugins reload")


def compare(settings: Settings, installed: Sequence[PluginStatus]) -> list[ComparedPlugin]:
    """Compare what is installed with what the server of this home runs, if there is one."""
    from hub.client.running_plugins import compare_plugins

    replicas: list[dict[str, Any]] = []
    url = ""
    try:
        with _own_server(settings) as server:
            if server:
                replicas, url = server.replicas()["replicas"], str(server.url)
    except HubError as error:
        error_console().print(f"The plugins of the running server are not known: {error}", markup=False)
    return compare_plugins(installed, replicas, url)


def _wait(client: ServerClient, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a reload once it is done.

    Raises: the error for which it failed.
    """
    from hub.client.http import error_of

    begun = state["id"]
    with error_console().status("") as status:
        while state["id"] == begun and state["state"] in STAGES:
            status.update(f"{STAGES[state['state']]} ({state['replaced']} of {state['replicas']} replaced)")
            time.sleep(POLL_S)
            state = client.plugin_reload()
    if state["error"]:
        raise error_of(state)
    return state


@contextmanager
def _own_server(settings: Settings) -> Iterator[ServerClient | None]:
    """Open a client of the server of this home; None if it does not run."""
    from hub.client.http import ServerClient, admin_key, find_server, verify_server

    if (url := find_server(settings)) is None:
        yield None
        return
    key, verify = admin_key(settings, local=True), verify_server(settings)
    with ServerClient(url, key=key, verify=verify, own=True) as server:
        yield server
