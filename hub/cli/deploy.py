"""`hub deploy`, `hub promote`, `hub rollback` and `hub undeploy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.pairs import json_pairs
from hub.cli.screen.output import JSON_FLAG, print_json, say
from hub.cli.screen.wait import TIMEOUT, WAIT, Need, show_served, wait

if TYPE_CHECKING:
    from hub.client.protocol import Client
    from hub.store.change import DeploymentChange

__all__ = ["SERVER", "deploy", "promote", "rollback", "undeploy"]

SERVER = typer.Option(help="URL of another server; also HUB_SERVER. Put its key in HUB_KEY.", metavar="URL")
REASON = typer.Option(help="The reason, for the deployment's history.")
DEPLOYMENT = typer.Argument(help="A deployment.")
WAIT_S = 60.0
Json = dict[str, Any]


def deploy(  # noqa: PLR0913, PLR0917 - one for each option
    version: Annotated[str, typer.Argument(metavar="NAME[@N]", help="A version; without @N, the newest.")],
    deployment: Annotated[
        str | None, typer.Option("--as", help="Deployment that serves it; default: the adapter's name.")
    ] = None,
    canary: Annotated[
        float | None,
        typer.Option(help="Send it this share of the requests, in percent.", min=0, max=100),
    ] = None,
    shadow: Annotated[
        bool,
        typer.Option(
            "--shadow",
            help="Run it on the same requests as the stable version; its answers are only compared.",
        ),
    ] = False,
    guard: Annotated[
        list[str] | None,
        typer.Option(help="A limit for the canary, such as error_rate=0.01; repeatable."),
    ] = None,
    reason: Annotated[str, REASON] = "",
    wait: Annotated[Need | None, WAIT] = None,
    timeout: Annotated[float, TIMEOUT] = WAIT_S,
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Put a version live without interrupting requests; it is loaded and checked first.

    With --canary or --shadow the live version stays live beside it.
    """
    from hub.client.protocol import whoami
    from hub.names import parse_version_ref
    from hub.store.change import Deploy

    name = deployment or parse_version_ref(version).name
    rules = json_pairs(guard, "--guard")
    change = Deploy.of(version=version, canary=canary, shadow=shadow, guard=rules, reason=reason, by=whoami())
    _apply(lambda client: client.deploy(name, change), server, as_json, wait, timeout)


def promote(
    deployment: Annotated[str, DEPLOYMENT],
    reason: Annotated[str, REASON] = "",
    wait: Annotated[Need | None, WAIT] = None,
    timeout: Annotated[float, TIMEOUT] = WAIT_S,
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Make the canary the stable version; without a canary, the shadow."""
    _apply(lambda client: client.promote(deployment, _change(reason)), server, as_json, wait, timeout)


def rollback(
    deployment: Annotated[str, DEPLOYMENT],
    reason: Annotated[str, REASON] = "",
    wait: Annotated[Need | None, WAIT] = None,
    timeout: Annotated[float, TIMEOUT] = WAIT_S,
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Remove the canary and the shadow; if there are none, go back to the previous version.

    After going back, a second rollback returns to the newer version.
    """
    _apply(lambda client: client.rollback(deployment, _change(reason)), server, as_json, wait, timeout)


def undeploy(
    deployment: Annotated[str, DEPLOYMENT],
    reason: Annotated[str, REASON] = "",
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Remove a deployment; its versions stay, and requests already admitted are still answered."""
    with Context.load().client(server) as client:
        gone = client.undeploy(deployment, _change(reason))
        if as_json:
            print_json({**gone, "server": client.url})
        else:
            say(f"[bold]{gone['name']}[/] is removed. Its versions are kept: see `hub adapters list`.")


def _change(reason: str) -> DeploymentChange:
    from hub.client.protocol import whoami
    from hub.store.change import DeploymentChange

    return DeploymentChange.of(reason=reason, by=whoami())


def _apply(
    change: Callable[[Client], Json], server: str | None, as_json: bool, need: Need | None, timeout_s: float
) -> None:
    with Context.load().client(server) as client:
        changed = change(client)
        served = wait(client, changed, need, timeout_s)
        if as_json:
            print_json({**changed, **served, "server": client.url})
        else:
            others = 0 if client.url else len(client.replicas()["replicas"])
            _report(changed, client.url, others)
            show_served(served)


def _report(changed: Json, url: str | None, others: int) -> None:
    from rich.markup import escape

    before = f" (before: {changed['previous']})" if changed["previous"] else ""
    say(f"[bold]{changed['name']}[/] serves [bold]{changed['version']}[/]{before}.")
    if warning := changed.get("warning"):
        say(f"[bold yellow]Check it[/]: {escape(warning)}")
    if canary := changed["canary"]:
        rules = ", ".join(f"{key}={value}" for key, value in canary["guard"].items())
        watched = f", guarded by {rules}" if rules else ""
        say(f"[bold]{canary['version']}[/] answers {canary['percent']:g} % of its requests{watched}.")
    if shadow := changed["shadow"]:
        say(f"[bold]{shadow['version']}[/] runs on the same requests; its answers are only compared.")
    if url is None and others:
        say(f"No server runs here; {others} elsewhere will serve it.")
        return
    if url is None:
        say("No server runs; the next `hub serve` will serve it.")
        return
    took = f"ready in {changed['prepare_ms']:.0f} ms, swapped in {changed['swap_ms']:.0f} ms"
    say(f"[dim]{took}.[/] Ask it: POST {url}/v1/deployments/{changed['name']}/predict")
