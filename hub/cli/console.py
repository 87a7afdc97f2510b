"""`hub console`: where the pages of a running server are, and the key that opens them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.context import Context
from hub.cli.deploy import SERVER
from hub.cli.screen.output import JSON_FLAG, error_console, print_json, say
from hub.errors import Conflict, NotReady

if TYPE_CHECKING:
    from hub.config import Settings

__all__ = ["console"]


def console(
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Print the address of the console of a running server, and where its key is."""
    from hub.client.http import find_server

    settings = Context.load().settings
    named = server or os.environ.get("HUB_SERVER")
    url = named or find_server(settings)
    if url is None:
        raise NotReady("No server is running. Start one with `hub serve`, or name one with --server.")
    if not named and not settings.serve.console:
        raise Conflict("The console is off: serve.console is false. Set it to true and restart the server.")
    address = f"{url.rstrip('/')}/console"
    key = _key(settings, local=not named)
    if as_json:
        print_json({"url": address, "key": key})
    else:
        say(f"Console: [bold]{address}[/]")
        say(f"Key:     {key}")
    if open_:
        import webbrowser

        if not webbrowser.open(address):
            error_console().print("No browser was found.")


def _key(settings: Settings, *, local: bool) -> str:
    """Return where the operator's key is; never the key."""
    from hub.client.http import KEY_FILE

    if not local:
        return "one of that server: `hub keys create` makes them there"
    if settings.serve.admin_key:
        return "the one of serve.admin_key (or of HUB_SERVE__ADMIN_KEY)"
    return f"in the file {settings.home / KEY_FILE}"
