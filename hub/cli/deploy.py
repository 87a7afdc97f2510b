"""`hub deploy` and `hub rollback`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hub.cli.output import JSON_FLAG, print_json, say

__all__ = ["SERVER", "register"]

SERVER = typer.Option(
    help="URL of a server elsewhere; also HUB_SERVER. Its key goes in HUB_KEY.", metavar="URL"
)
WHY = typer.Option(help="The reason, for the deployment's history.")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(deploy)
    app.command()(rollback)


def deploy(
    version: Annotated[str, typer.Argument(metavar="NAME[@N]", help="A version; without @N, the newest.")],
    deployment: Annotated[
        str | None, typer.Option("--as", help="Deployment to put it live as; default: the adapter's name.")
    ] = None,
    why: Annotated[str, WHY] = "",
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Put a version live: loaded and checked first, then swapped in while requests go on."""
    from hub.config import load_settings
    from hub.names import parse_version_ref
    from hub.serving.client import connect

    name = deployment or parse_version_ref(version).name
    with connect(load_settings(), server) as client:
        _report(client.deploy(name, version, why), client.url, as_json)


def rollback(
    deployment: Annotated[str, typer.Argument(help="A deployment.")],
    why: Annotated[str, WHY] = "",
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Put the version that was live before back; a second rollback undoes the first."""
    from hub.config import load_settings
    from hub.serving.client import connect

    with connect(load_settings(), server) as client:
        _report(client.rollback(deployment, why), client.url, as_json)


def _report(moved: dict[str, Any], url: str | None, as_json: bool) -> None:
    if as_json:
        print_json({**moved, "server": url})
        return
    before = f", in place of {moved['previous']}" if moved["previous"] else ""
    say(f"[bold]{moved['name']}[/] serves [bold]{moved['version']}[/]{before}.")
    if url is None:
        say("No server runs; the next `hub serve` has it.")
        return
    took = f"ready in {moved['prepare_ms']:.0f} ms, swapped in {moved['swap_ms']:.0f} ms"
    say(f"[dim]{took}.[/] Ask it: POST {url}/v1/deployments/{moved['name']}/predict")
