"""The similarity task does what the hub relies on."""

from __future__ import annotations

from typing import ClassVar

from grafthub_similarity import hub_tasks

from hub.testing.conformance import TaskConformance

(SPEC,) = hub_tasks()


def example(query: str, good: str, bad: str | None = None) -> dict[str, object]:
    return {"query": query, "good": good, "bad": bad}


class TestPairs(TaskConformance):
    spec = SPEC
    examples = (example("Who won?", "The team won."), example("Where?", "In London, by the river."))


class TestTriples(TaskConformance):
    spec = SPEC
    examples = (
        example("Who won?", "The team won.", "The team lost."),
        example("Where?", "In London.", "In Paris, by the river."),
    )
    options: ClassVar = {"pooling": "last", "normalize": False, "query_prompt": "query: ", "scale": 5.0}
