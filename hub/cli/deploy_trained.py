"""`hub train --deploy`: runs the gate and deploys a trained version that passes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hub.cli.context import Context
from hub.cli.screen.output import escape, progress, say
from hub.errors import Conflict, HostFault, HubError

if TYPE_CHECKING:
    from hub.store.records import Version
    from hub.training.train import TrainResult

__all__ = ["check_task", "deploy_trained", "print_deployed"]

Json = dict[str, Any]
GATE_FILE = "gate.json"  # in the folder of the run
MAX_REASON_CHARS = 1000  # as the server limits it


def check_task(name: str, task: str, context: Context) -> None:
    """Raise Conflict before training if the deployment `name` serves another task."""
    live = _live(name, context)
    if live and live.manifest.serving.task != task:
        raise Conflict(
            f"Deployment {name!r} serves the task {live.manifest.serving.task!r}, and the recipe trains for "
            f"{task!r}. Give another name: --deploy NAME."
        )


def deploy_trained(result: TrainResult, name: str, context: Context, quiet: bool) -> Json:
    """Deploy a version if it passes the gate; a failure is returned, since the version is stored anyway."""
    outcome: Json = {"deployment": name, "passed": False, "reason": ""}
    try:
        _deploy(result, context, quiet, outcome)
    except HubError as error:
        outcome |= {"failed": str(error), "restart": _restart_advice(result.plan.recipe.task, context)}
    except OSError as error:
        outcome |= {"failed": str(HostFault.of(error)), "restart": ""}
    return outcome


def print_deployed(version: Version, outcome: Json) -> None:
    """Print what `deploy_trained` returned."""
    if failed := outcome.get("failed"):
        say(f"[bold red]Not deployed[/]: {escape(failed)}")
        if outcome["restart"]:
            say(escape(outcome["restart"]))
        say(f"Stored as {version.ref}. To put it live: hub deploy {version.ref} --as {outcome['deployment']}")
        return
    if not outcome["passed"]:
        say(f"[bold yellow]Not deployed[/]: {escape(outcome['reason'])}.")
        say(f"To put it live anyway: hub deploy {version.ref} --as {outcome['deployment']}")
        return
    if "answer" not in outcome:
        say(f"{version.ref} is live as {outcome['deployment']} already.")
        return
    where = f"at {outcome['server']}" if outcome["server"] else "once a server runs: hub serve"
    say(f"[bold green]Live[/] as {outcome['deployment']}, {where}.")
    if warning := outcome["answer"].get("warning"):
        say(f"[bold yellow]Check it[/]: {escape(warning)}")
    say(f"Gate: {escape(outcome['reason'])}.")
    say(f"Next: hub predict {outcome['deployment']} TEXT")


def _deploy(result: TrainResult, context: Context, quiet: bool, outcome: Json) -> None:
    """Run the gate, and deploy a version that passes; adds the results to `outcome`."""
    from hub.client.protocol import whoami
    from hub.report.write import add_gate
    from hub.store.change import Deploy
    from hub.training.gate import pass_gate

    name = outcome["deployment"]
    live = _live(name, context)
    with progress(quiet) as bars:
        decision = pass_gate(result, live, registry=context.registry, store=context.store, progress=bars)
    outcome |= {"live": str(live.ref) if live else None, **decision.to_json()}
    path = context.settings.home / "runs" / result.plan.recipe.name / GATE_FILE
    path.write_text(json.dumps({"version": str(result.version.ref), **outcome}, indent=2), encoding="utf-8")
    if result.report:
        add_gate(context.store, result.version, name, live, decision)
    if decision.passed and (live is None or live.ref != result.version.ref):
        with context.client() as client:
            reason = f"hub train: {decision.reason}"[:MAX_REASON_CHARS]
            change = Deploy(version=result.version.ref, reason=reason, by=whoami())
            outcome |= {"answer": client.deploy(name, change), "server": client.url}


def _restart_advice(task: str, context: Context) -> str:
    """Return a hint if the server runs another version of the task's plugin than this process, else ""."""
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
        f"The server at {url} has {has}, and this environment has {ours.name}. To load it: hub plugins reload"
    )


def _live(name: str, context: Context) -> Version | None:
    return {found.name: found.stable for found in context.store.deployments()}.get(name)
