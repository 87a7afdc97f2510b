"""Extractive question answering over contexts of any length."""

from __future__ import annotations

from collections.abc import Iterator

from hub.api import HeadKind, TaskSpec, hookimpl

__all__ = ["hub_tasks"]


@hookimpl
def hub_tasks() -> Iterator[TaskSpec]:
    """Yield the task `qa`."""
    yield TaskSpec(
        name="qa",
        summary="Find the answers to a question in a text of any length, or that there is none.",
        head=HeadKind.SPAN,
        request="grafthub_qa.models:QaRequest",
        response="grafthub_qa.models:QaResponse",
        factory="grafthub_qa.task:QaTask",
    )
