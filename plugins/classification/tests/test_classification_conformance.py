"""The classification task does what the hub relies on."""

from __future__ import annotations

from typing import ClassVar

from grafthub_classification import hub_tasks

from hub.testing.conformance import TaskConformance

(SPEC,) = hub_tasks()


class TestOneLabel(TaskConformance):
    spec = SPEC
    examples = (
        {"text": "the team won the game", "label": "sport"},
        {"text": "rain by the river", "label": "weather"},
        {"text": "the price of a phone", "label": "market"},
    )
    options: ClassVar = {"temperature": 1.5}


class TestSeveralLabels(TaskConformance):
    spec = SPEC
    examples = (
        {"text": "the team won in the rain", "labels": ("sport", "weather")},
        {"text": "who lost the game", "labels": ("sport",)},
        {"text": "not of this", "labels": ()},
    )
    options: ClassVar = {"multi_label": True, "thresholds": {"sport": 0.6}}


class TestPairs(TaskConformance):
    spec = SPEC
    examples = (
        {"text": "the team won", "text_pair": "the team lost", "label": "no"},
        {"text": "the team won the game", "text_pair": "it won", "label": "yes"},
    )
