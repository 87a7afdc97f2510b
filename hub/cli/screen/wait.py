"""`--wait` of the commands that change a deployment, and the table of replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import typer
from typer.core import TyperCommand

from hub.cli.screen.output import escape, say, table

if TYPE_CHECKING:
    from hub.client.protocol import Client

__all__ = ["TIMEOUT", "WAIT", "Need", "Waiting", "show_replicas", "show_served", "wait"]

Need = Literal["all", "quorum"]
NEEDS = ("all", "quorum")

WAIT = typer.Option(
    help="Wait until all replicas (the default) or a quorum, more than half, serve the change.",
    metavar="[all|quorum]",
)
TIMEOUT = typer.Option(help="Longest time to wait, in seconds.", min=0.0)


class Waiting(TyperCommand):
    """Makes the value of `--wait` optional (`all`), which typer does not support."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = args.copy()
        if "--wait" in given:
            after = given.index("--wait") + 1
            if given[after : after + 1] not in ([need] for need in NEEDS):
                given.insert(after, "all")
        return super().parse_args(ctx, given)


def wait(client: Client, change: Mapping[str, Any], need: Need | None, timeout_s: float) -> dict[str, Any]:
    """Wait until enough replicas serve a change; return those that do and do not, {} without `need`.

    Raises:
        NotServed: the time is over; the message has the remaining replicas with reasons.
    """
    from hub.client.wait import wait_until_served

    if need is None:
        return {}
    rollout = wait_until_served(client.replicas, change["name"], change["generation"], need, timeout_s)
    return {"serving": list(rollout.serving), "missing": list(rollout.missing)}


def show_served(served: Mapping[str, Any]) -> None:
    """Print the result of `wait`."""
    if not served:
        return
    total = len(served["serving"]) + len(served["missing"])
    say(f"Served by {len(served['serving'])} of {total} replicas.")
    for missing in served["missing"]:
        say(f"[bold yellow]not yet[/] {escape(missing)}")


def show_replicas(replicas: Sequence[Mapping[str, Any]]) -> None:
    """Print the live replicas as a table, then their failed changes."""
    rows = [
        [
            one["id"][:12],
            f"{one['host']}:{one['pid']}",
            one["url"],
            one["generation"],
            one["behind"] or "",
            f"{one['silent_s']:.0f} s ago",
        ]
        for one in replicas
    ]
    if rows:
        table(("REPLICA", "PROCESS", "URL", "GENERATION", "BEHIND", "SEEN"), rows)
    for one in replicas:
        for name, reason in sorted(one["failures"].items()):
            say(f"[bold red]failed[/] {escape(name)} on {one['id'][:12]}: {escape(reason)}")
