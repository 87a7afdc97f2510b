"""`hub status`: the state of the server, its engines, deployments and plugins."""

from __future__ import annotations

from typing import Annotated, Any

from hub.cli.context import Context
from hub.cli.deploy import SERVER
from hub.cli.screen.output import JSON_FLAG, escape, print_json, say, table
from hub.cli.screen.wait import show_replicas

__all__ = ["status"]

SHOWN = 5  # versions without a slot, for each base; --json lists all


def status(server: Annotated[str | None, SERVER] = None, as_json: Annotated[bool, JSON_FLAG] = False) -> None:
    """Show the server, its engines and slots, the deployments, and failures with their reasons."""
    with Context.load().client(server) as client:
        found = client.status()
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    if found["server"]:
        behind = (found["catalog_generation"] or 0) - found["generation"]
        state = f"generation {found['generation']}" + (f", {behind} behind the catalog" if behind > 0 else "")
        say(f"Server: [bold]{found['server']}[/] ({state})")
    else:
        say("Server: not running. Start one with `hub serve`.")
    for engine in found["engines"]:
        slots, info = engine["slots"], engine["engine"]
        runs = f"{info['name']} ({info['device']}, {info['dtype']})"
        use = f"{len(slots['resident'])} of {slots['capacity']} slots in use"
        say(f"Base:   [bold]{engine['base']}[/] on {runs}, {use}, {engine['queued_rows']} rows waiting")
        for line in (info["choices"], info["note"]):
            if line:
                say(f"        {escape(line)}")
    _show_lifecycle(found)
    if found["deployments"]:
        rows = [
            [one["name"], one["task"], one["version"], one["updated"][:19]] for one in found["deployments"]
        ]
        table(("DEPLOYMENT", "TASK", "VERSION", "SINCE"), rows)
    else:
        say("Nothing is deployed. Put a version live with `hub deploy NAME@N --as DEPLOYMENT`.")
    for failure in found["failures"]:
        stays = f"{failure['serving']} stays live" if failure["serving"] else "nothing is live"
        what = f"{failure['deployment']} wants {failure['wanted']}, {stays}"
        say(f"[bold red]failed[/] {what}: {escape(failure['reason'])}")
    show_replicas(found["replicas"])
    _show_observers(found)
    for plugin in found["plugins"]:
        if plugin["state"] not in ("ok", "disabled"):
            say(f"[bold red]{plugin['state']}[/] plugin {plugin['name']}: {escape(plugin['reason'])}")
    if full := found.get("disk", {}).get("error"):
        say(f"[bold red]error[/] {escape(full)}")
    _show_hanging(found)
    if found["catalog_error"]:
        say(f"[bold red]error[/] the catalog cannot be followed: {escape(found['catalog_error'])}")


def _show_hanging(found: dict[str, Any]) -> None:
    """Print the plugins with hanging calls."""
    for one in found.get("hanging", []):
        what = f"plugin {one['plugin']}: {one['stuck_calls']} calls of task {one['task']} hang"
        if not one["suspended"]:
            say(f"[bold yellow]hangs[/] {escape(what)}")
            continue
        again = "" if one["retry_in_s"] is None else f" The next attempt is in {one['retry_in_s']:.0f} s."
        fix = f"Update it or run hub plugins disable {one['plugin']}, then: hub plugins reload"
        say(f"[bold red]suspended[/] {escape(what)}, and new calls are refused.{again} {escape(fix)}")


def _show_observers(found: dict[str, Any]) -> None:
    """Print the state of guards and of the answer log."""
    for name, state in sorted(found.get("guards", {}).items()):
        say(f"guard of {name}: {escape(state)}")
    feedback = found.get("feedback", {"keep": "nothing"})
    if feedback["keep"] != "nothing":
        kept = f"{feedback['kept']} kept, {feedback['waiting']} waiting, {feedback['dropped']} dropped"
        say(f"Feedback: {feedback['keep']} ({kept} since this replica started)")
        if feedback["error"]:
            say(f"[bold red]error[/] answers cannot be written: {escape(feedback['error'])}")


def _show_lifecycle(found: dict[str, Any]) -> None:
    """Print running and failed loads, and the versions that left their slots last."""
    for load in found["loads"]:
        if load["state"] == "failed":
            retry = f"retry in {max(load['retry_in_s'], 0):.0f} s"
            say(f"[bold red]failed[/] {load['version']} cannot be loaded, {retry}: {escape(load['reason'])}")
        else:
            say(f"{load['state']} {load['version']} for {load['seconds']:.1f} s, {load['waiting']} waiting")
    for engine in found["engines"]:
        for gone in [one for one in engine["slots"]["gone"] if one["state"] != "failed"][:SHOWN]:
            reason = f": {gone['reason']}" if gone["reason"] else ""
            say(f"{gone['state']} {gone['version']} at {gone['at'][:19]}{escape(reason)}")
