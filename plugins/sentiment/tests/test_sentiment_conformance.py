"""The sentiment task does what the hub relies on."""

from __future__ import annotations

from typing import ClassVar

from grafthub_sentiment import hub_tasks

from hub.testing.conformance import TaskConformance

(SPEC,) = hub_tasks()


class TestWords(TaskConformance):
    spec = SPEC
    examples = (
        {"text": "a great film", "label": "positive"},
        {"text": "an awful book", "label": "negative"},
        {"text": "a phone", "label": "neutral"},
    )


class TestStars(TaskConformance):
    spec = SPEC
    examples = tuple({"text": f"food number {stars}", "label": str(stars)} for stars in range(1, 6))
    options: ClassVar = {"temperature": 0.7}


class TestOwnLabels(TaskConformance):
    spec = SPEC
    examples = ({"text": "love it", "label": "fan"}, {"text": "hate it", "label": "critic"})
    options: ClassVar = {"polarity": {"fan": 1.0, "critic": -0.5}}
