"""Descriptions of deployments, replicas, plugins and engines as JSON values, for the server and the CLI."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import from_json

from hub.engine.slots.table import SlotTable
from hub.registry.host import LoadedTask, Registry
from hub.store.catalog.replicas import Replica
from hub.store.records import Deployment, DeploymentEvent, Version

if TYPE_CHECKING:
    from hub.serving.batching.base_workers import BaseWorker
    from hub.serving.plugins.threads import ThreadState
    from hub.serving.requests.call_answers import CallAnswers

__all__ = [
    "describe_base_worker",
    "describe_change",
    "describe_deployment",
    "describe_end",
    "describe_event",
    "describe_hanging",
    "describe_live",
    "describe_plugins",
    "describe_replica",
    "describe_task",
    "plugin_name",
]

Json = dict[str, Any]


def describe_live(
    deployment: Deployment, stable: Version, canary: Version | None, shadow: Version | None
) -> Json:
    """Describe a deployment by the versions that serve it."""
    wanted = deployment.canary
    return {
        "name": deployment.name,
        "task": deployment.task,
        "version": str(stable.ref),
        "sha256": stable.sha256,
        "labels": list(stable.info.labels),
        "reading": stable.manifest.reading,
        "canary": {**_trial(canary), "percent": wanted.percent, "guard": dict(wanted.guard)}
        if canary and wanted
        else None,
        "shadow": _trial(shadow) if shadow else None,
        "updated": deployment.updated.isoformat(),
    }


def describe_deployment(deployment: Deployment) -> Json:
    """Describe a deployment as it is in the catalog."""
    previous, canary = deployment.previous, deployment.canary
    return {
        **describe_live(deployment, deployment.stable, canary.version if canary else None, deployment.shadow),
        "previous": str(previous.ref) if previous else None,
        "generation": deployment.generation,
    }


def describe_change(
    deployment: Deployment,
    prepare_s: float | None = None,
    swap_s: float | None = None,
    warning: str = "",
) -> Json:
    """Describe a deployment after a change; the times are None if no server took part.

    `warning` is the reason why the version may not fit the installed plugin.
    """
    described = describe_deployment(deployment)
    kept = ("name", "task", "version", "previous", "canary", "shadow", "generation")
    return {
        **{key: described[key] for key in kept},
        "prepare_ms": None if prepare_s is None else round(prepare_s * 1000, 3),
        "swap_ms": None if swap_s is None else round(swap_s * 1000, 3),
        **({"warning": warning} if warning else {}),
    }


def describe_end(answers: CallAnswers) -> Json:
    """Describe the end of a streamed answer.

    Raises: the error of the request.
    """
    usage = answers.usage
    return {
        "response": from_json(answers.only()),
        "prompt_tokens": usage.prompt_tokens if usage else 0,
        "cached_tokens": usage.cached_tokens if usage else 0,
        "completion_tokens": usage.completion_tokens if usage else 0,
        "finish_reason": usage.finish_reason if usage else None,
    }


def describe_event(event: DeploymentEvent) -> Json:
    """Describe an event of a deployment's history."""
    return {
        "generation": event.generation,
        "kind": event.kind,
        "when": event.when.isoformat(),
        "who": event.who,
        "before": str(event.before) if event.before else None,
        "after": str(event.after) if event.after else None,
        "reason": event.reason,
    }


def describe_replica(replica: Replica, generation: int) -> Json:
    """Describe a serving process, and how far it is behind the catalog's `generation`."""
    return {
        "id": replica.id,
        "host": replica.host,
        "pid": replica.pid,
        "url": replica.url,
        "generation": replica.generation,
        "behind": max(0, generation - replica.generation),
        "started": replica.started.isoformat(),
        "silent_s": round(replica.silent_s, 3),
        "failures": dict(replica.failures),
        "plugins": {id: list(each) for id, each in replica.plugins.items()},
    }


def describe_plugins(registry: Registry) -> list[Json]:
    """Describe every installed plugin."""
    return [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "state": plugin.state,
            "reason": plugin.reason,
            "tasks": list(plugin.tasks),
        }
        for plugin in registry.plugins()
    ]


def plugin_name(registry: Registry, task: str) -> str:
    """Return the name by which `hub plugins` knows the plugin that provides a task."""
    names = [registry.handle(plugin) for plugin in registry.plugins() if task in plugin.tasks]
    return names[0] if names else task


def describe_hanging(state: ThreadState) -> Json:
    """Describe a task whose plugin has hanging calls; `retry_in_s` is null if only a restart helps."""
    return {
        "task": state.task,
        "plugin": state.plugin,
        "stuck_calls": state.stuck,
        "suspended": state.suspended,
        "retry_in_s": None if state.retry_in_s is None else round(state.retry_in_s, 1),
    }


def describe_base_worker(base_worker: BaseWorker) -> Json:
    """Describe a resident base: its engine, queue and slots."""
    return {
        "base": base_worker.base.name,
        "fingerprint": base_worker.base.fingerprint,
        "engine": asdict(base_worker.engine.info()),
        "queued_rows": base_worker.batcher.waiting,
        "slots": _slots(base_worker.slots),
    }


def _slots(slots: SlotTable) -> Json:
    """Describe the versions in slots, in eviction order, and those without a slot any more, latest first."""
    return {
        "capacity": slots.capacity,
        "resident": [
            {
                "version": view.name,
                "sha256": view.key,
                "slot": view.slot,
                "state": str(view.state),
                "leases": view.leases,
                "pinned": view.pinned,
            }
            for view in slots.view()
        ],
        "gone": [
            {
                "version": gone.name,
                "sha256": gone.key,
                "state": str(gone.fate),
                "at": gone.at.isoformat(),
                "reason": gone.reason,
            }
            for gone in slots.history()
        ],
    }


def describe_task(task: LoadedTask) -> Json:
    """Return the JSON schemas of a task's requests and responses."""
    return dict(_schemas(task.request, task.response))


@lru_cache(maxsize=256)
def _schemas(request: type[BaseModel], response: type[BaseModel]) -> Json:
    """Build the schemas once: that takes milliseconds, and the list of tasks needs no API key."""
    return {
        "request": request.model_json_schema(),
        "response": response.model_json_schema(mode="serialization"),
    }


def _trial(version: Version) -> Json:
    return {"version": str(version.ref), "sha256": version.sha256}
