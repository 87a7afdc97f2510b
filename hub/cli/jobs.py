"""`hub jobs`: the training jobs of a server."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.deploy import SERVER
from hub.cli.screen.output import JSON_FLAG, escape, print_json, say, table

__all__ = ["commands"]

commands = typer.Typer(no_args_is_help=True, help="List, show and cancel training jobs of a server.")

HEADERS = ("JOB", "STATUS", "ADAPTER", "TASK", "BASE", "VERSION", "CREATED")
_JOB = typer.Argument(help="The id of a job.", metavar="JOB")
_STYLES = {"error": "bold red", "warn": "bold yellow", "info": "dim"}
Json = dict[str, Any]


@commands.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of jobs.")] = 20,
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """List the newest training jobs."""
    with Context.load().client(server) as client:
        found = client.jobs(limit)
    if as_json:
        print_json({"jobs": found})
    elif found:
        table(HEADERS, [_row(job) for job in found])
    else:
        say("There are no jobs. docs/jobs.md shows how to create one over HTTP.")


@commands.command()
def show(
    job: Annotated[str, _JOB],
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Show a job and its latest events."""
    with Context.load().client(server) as client:
        found, events = client.job(job), client.job_events(job)
    if as_json:
        print_json({**found, "events": events})
        return
    table(HEADERS, [_row(found)])
    if error := found["error"]:
        say(f"[bold red]failed[/] [dim]({error['code']})[/] {escape(error['message'])}")
    result = found["result"] or {}
    for name, value in (result.get("metrics") or {}).items():
        say(f"{escape(name)} {value:.4f}")
    if deployed := result.get("deploy"):
        state = "live" if deployed["live"] else "not live"
        say(f"{escape(deployed['deployment'])}: {state}, {escape(deployed['reason'])}")
    for event in reversed(events):
        level = event["level"]
        say(f"{_when(event['created_at'])} [{_STYLES[level]}]{level}[/] {escape(event['message'])}")


@commands.command()
def cancel(
    job: Annotated[str, _JOB],
    server: Annotated[str | None, SERVER] = None,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Cancel a job; nothing of it stays."""
    with Context.load().client(server) as client:
        found = client.cancel_job(job)
    if as_json:
        print_json(found)
    else:
        say(f"{found['id']} is cancelled.")


def _row(job: Json) -> list[str]:
    version = job["fine_tuned_model"] or "-"
    what = (job[key] for key in ("id", "status", "adapter", "task", "model"))
    return [*what, version, _when(job["created_at"])]


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds).isoformat(sep=" ")
