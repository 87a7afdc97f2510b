"""The plugins of `plugins.required`, without which a server is not ready."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hub.registry.host import Registry
from hub.serving.plugins.threads import ThreadState

__all__ = ["suspended_faults"]


def suspended_faults(registry: Registry, required: Sequence[str], states: Iterable[ThreadState]) -> list[str]:
    """Return a sentence for each task of a required plugin that is suspended."""
    of_task = {task: plugin for plugin in registry.plugins() for task in plugin.tasks}
    return [
        f"Required plugin {name!r} is suspended: {state.stuck} calls of its task {state.task!r} hang."
        if state.stuck
        else f"Required plugin {name!r} is suspended: calls of its task {state.task!r} took too much memory."
        for state in states
        if state.suspended and (plugin := of_task.get(state.task))
        for name in required
        if plugin.is_named(name)
    ]
