"""Entity extraction: typed spans, such as names and amounts, in a text of any length."""

from __future__ import annotations

from collections.abc import Iterator

from hub.api import HeadKind, TaskSpec, hookimpl

__all__ = ["hub_tasks"]


@hookimpl
def hub_tasks() -> Iterator[TaskSpec]:
    """Yield the task `extraction`."""
    yield TaskSpec(
        name="extraction",
        summary="Find the entities in a text of any length: names, places, amounts, or types of your own.",
        head=HeadKind.TOKEN,
        request="grafthub_extraction.models:ExtractionRequest",
        response="grafthub_extraction.models:ExtractionResponse",
        factory="grafthub_extraction.task:ExtractionTask",
    )
