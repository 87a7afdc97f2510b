"""Completion and chat with a decoder."""

from __future__ import annotations

from collections.abc import Iterator

from hub.api import HeadKind, TaskSpec, hookimpl

__all__ = ["hub_tasks"]


@hookimpl
def hub_tasks() -> Iterator[TaskSpec]:
    """Yield the task `generation`."""
    yield TaskSpec(
        name="generation",
        summary="Complete a text, or write the next answer of a chat.",
        head=HeadKind.GENERATE,
        request="grafthub_generation.models:GenerationRequest",
        response="grafthub_generation.models:GenerationResponse",
        factory="grafthub_generation.task:GenerationTask",
    )
