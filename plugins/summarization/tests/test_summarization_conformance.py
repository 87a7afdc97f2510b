"""The summarization task does what the hub relies on."""

from __future__ import annotations

from typing import ClassVar

from grafthub_summarization import hub_tasks

from hub.testing.conformance import TaskConformance

(SPEC,) = hub_tasks()

EXAMPLES = (
    {"document": "The council met on Monday. It voted for a new bridge.", "summary": "A new bridge."},
    {"document": "Es regnet. Der Fluss steigt; die Stadt warnt.", "summary": "Hochwasser: die Stadt warnt!"},
)


class TestSummarization(TaskConformance):
    spec = SPEC
    examples = EXAMPLES


class TestManyParts(TaskConformance):
    spec = SPEC
    examples = EXAMPLES
    options: ClassVar = {"instruction": "{document}\nTL;DR:", "max_new_tokens": 40, "max_parts": 256}
