"""Translation with an instruction-tuned decoder, one adapter per language pair or several."""

from __future__ import annotations

from collections.abc import Iterator

from hub.api import HeadKind, TaskSpec, hookimpl

__all__ = ["hub_tasks"]


@hookimpl
def hub_tasks() -> Iterator[TaskSpec]:
    """Yield the task `translation`."""
    yield TaskSpec(
        name="translation",
        summary="Translate a text between the languages of the adapter or the request.",
        head=HeadKind.GENERATE,
        request="grafthub_translation.models:TranslationRequest",
        response="grafthub_translation.models:TranslationResponse",
        factory="grafthub_translation.task:TranslationTask",
    )
