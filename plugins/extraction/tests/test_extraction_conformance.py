"""The extraction task does what the hub relies on."""

from __future__ import annotations

from typing import ClassVar

from grafthub_extraction import hub_tasks

from hub.testing.conformance import TaskConformance

(SPEC,) = hub_tasks()
TEXT = "The team won in London, by the river, and lost in Paris."


def annotated(text: str, **places: str) -> dict[str, object]:
    found = [
        {"start": text.index(word), "end": text.index(word) + len(word), "label": label}
        for label, word in places.items()
    ]
    return {"text": text, "entities": tuple(found)}


ANNOTATED = (
    annotated(TEXT, LOC="London", PLACE="the river"),
    annotated("A good film of Ada Nováková-Ōe.", PER="Ada Nováková-Ōe"),
    annotated("Nothing to see."),
)
TAGGED = (
    {"tokens": ("The", "team", "of", "Paris"), "tags": ("O", "B-ORG", "I-ORG", "I-ORG")},
    {"tokens": ("London", "Paris", "won"), "tags": ("U-LOC", "U-LOC", "O")},
)


class TestEntities(TaskConformance):
    spec = SPEC
    examples = ANNOTATED


class TestTags(TaskConformance):
    spec = SPEC
    examples = TAGGED


class TestBilou(TaskConformance):
    spec = SPEC
    examples = ANNOTATED
    options: ClassVar = {"scheme": "BILOU", "stride": 8}


class TestAllSubwords(TaskConformance):
    spec = SPEC
    examples = ANNOTATED
    options: ClassVar = {"subwords": "all", "aggregation": "simple"}


class TestAverageOfAllSubwordsInBilou(TaskConformance):
    spec = SPEC
    examples = ANNOTATED
    options: ClassVar = {"scheme": "BILOU", "subwords": "all", "aggregation": "average"}
