"""A task's own mistakes, told as the plugin's and not as the hub's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hub.errors import BadPlugin, HubError
from hub.registry.loaded import describe_failure

__all__ = ["plugin_call"]


@contextmanager
def plugin_call(task: str, what: str) -> Iterator[None]:
    """Raise BadPlugin for whatever a task's method raises but a HubError; `what` says which and on what."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        raise BadPlugin(f"Task {task!r} failed in {what}: {describe_failure(error)}") from error
