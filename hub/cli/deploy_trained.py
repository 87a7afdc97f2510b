"""`hub train --deploy`: the gate, the move, and what they came to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hub.cli.context import Context
from hub.cli.screen.output import escape, progress, say
from hub.errors import Conflict, HubError

if TYPE_CHECKING:
    from hub.store.records import Version
    from hub.training.train import TrainResult

__all__ = ["check_task", "deploy_trained", "print_move"]

Json = dict[str, Any]
GATE_FILE = "gate.json"  # in the folder of the run
REASON = 1000  # characters that a move's reason may have


def check_task(name: str, task: str, context: Context) -> None:
    """Refuse before training what the catalog would refuse after it."""
    live = _live(name, context)
    if live and live.manifest.serving.task != task:
        raise Conflict(
            f"Deployment {name!r} serves the task {live.manifest.serving.task!r}, and the recipe trains for "
            f"{task!r}. Give another name: --deploy NAME."
        )


def deploy_trained(result: TrainResult, name: str, context: Context, quiet: bool) -> Json:
    """Put a version live if it passes the gate; the answer holds a failure, as the version is stored."""
    answer: Json = {"deployment": name, "passed": False, "reason": ""}
    try:
        _deploy(result, context, quiet, answer)
    except HubError as error:
        answer |= {"failed": str(error), "restart": _restart_advice(result.plan.recipe.task, context)}
    return answer


def print_move(version: Version, moved: Json) -> None:
    """Print what `deploy_trained` returned."""
    if failed := moved.get("failed"):
        say(f"[bold red]Not deployed[/]: {escape(failed)}")
        if moved["restart"]:
            say(escape(moved["restart"]))
        say(f"Stored as {version.ref}. To put it live: hub deploy {version.ref} --as {moved['deployment']}")
        return
    if not moved["passed"]:
        say(f"[bold yellow]Not deployed[/]: {escape(moved['reason'])}.")
        say(f"To put it live all the same: hub deploy {version.ref} --as {moved['deployment']}")
        return
    if "answer" not in moved:
        say(f"{version.ref} is live as {moved['deployment']} already.")
        return
    where = f"at {moved['server']}" if moved["server"] else "once a server runs: hub serve"
    say(f"[bold green]Live[/] as {moved['deployment']}, {where}.")
    if warning := moved["answer"].get("warning"):
        say(f"[bold yellow]Check it[/]: {escape(warning)}")
    say(f"Gate: {escape(moved['reason'])}.")
    say(f"Next: hub predict {moved['deployment']} TEXT")


def _deploy(result: TrainResult, context: Context, quiet: bool, answer: Json) -> None:
    """Judge a version and put it live if it passes; `answer` grows with what is known."""
    from hub.client.protocol import whoami
    from hub.report.write import add_gate
    from hub.store.change import Deploy
    from hub.training.gate import pass_gate

    name = answer["deployment"]
    live = _live(name, context)
    with progress(quiet) as bars:
        judgement = pass_gate(result, live, registry=context.registry, store=context.store, progress=bars)
    answer |= {"live": str(live.ref) if live else None, **judgement.to_json()}
    path = context.settings.home / "runs" / result.plan.recipe.name / GATE_FILE
    path.write_text(json.dumps({"version": str(result.version.ref), **answer}, indent=2), encoding="utf-8")
    if result.report:
        add_gate(context.store, result.version, name, live, judgement)
    if judgement.passed and (live is None or live.ref != result.version.ref):
        with context.client() as client:
            reason = f"hub train: {judgement.reason}"[:REASON]
            change = Deploy(version=result.version.ref, reason=reason, by=whoami())
            answer |= {"answer": client.deploy(name, change), "server": client.url}


def _restart_advice(task: str, context: Context) -> str:
    """Return what to restart if the server runs another version of the task's plugin than this process."""
    try:
        with context.client() as client:
            if client.url is None:
                return ""
            url, theirs = client.url, client.status()["plugins"]
    except HubError:
        return ""
    ours = context.registry.plugin_of(task)
    found = [plugin for plugin in theirs if task in plugin["tasks"] and plugin["state"] == "ok"]
    if any(plugin.get("distribution", ours.distribution) != ours.distribution for plugin in found):
        return f"The server at {url} has the task {task!r} from another plugin than {ours.name}."
    if any(plugin.get("version") == ours.version for plugin in found):
        return ""
    has = f"{ours.distribution} {found[0].get('version', '')}".strip() if found else f"no task {task!r}"
    return (
        f"The server at {url} has {has}, and this environment has {ours.name}: restart the server, "
        "which then has it too."
    )


def _live(name: str, context: Context) -> Version | None:
    return {found.name: found.stable for found in context.store.deployments()}.get(name)
