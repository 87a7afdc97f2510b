"""Summarization with an instruction-tuned decoder; long documents in parts."""

from __future__ import annotations

from collections.abc import Iterator

from hub.api import HeadKind, TaskSpec, hookimpl

__all__ = ["hub_tasks"]


@hookimpl
def hub_tasks() -> Iterator[TaskSpec]:
    """Yield the task `summarization`."""
    yield TaskSpec(
        name="summarization",
        summary="Summarize a document; long documents in parts.",
        head=HeadKind.GENERATE,
        request="grafthub_summarization.models:SummarizationRequest",
        response="grafthub_summarization.models:SummarizationResponse",
        factory="grafthub_summarization.task:SummarizationTask",
    )
