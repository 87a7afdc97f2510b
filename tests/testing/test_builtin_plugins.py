"""The suite that plugin authors run, on the plugins that come with the hub."""

from __future__ import annotations

from typing import ClassVar

import grafthub_classification
import grafthub_qa
import grafthub_sentiment
import grafthub_translation

from hub.testing.conformance import TaskConformance


class TestClassification(TaskConformance):
    spec = next(iter(grafthub_classification.hub_tasks()))
    examples = (
        {"text": "The keeper saved it in extra time.", "label": "sport"},
        {"text": "Oil was cheaper in the morning.", "text_pair": "Shares rose.", "label": "markets"},
    )


class TestMultiLabelClassification(TaskConformance):
    spec = next(iter(grafthub_classification.hub_tasks()))
    options: ClassVar = {"multi_label": True}
    examples = (
        {"text": "The club went public.", "labels": ("markets", "sport")},
        {"text": "It rained.", "labels": ()},
    )


class TestSentiment(TaskConformance):
    spec = next(iter(grafthub_sentiment.hub_tasks()))
    examples = (
        {"text": "A fine movie.", "label": "positive"},
        {"text": "I hate it.", "label": "negative"},
    )


class TestQa(TaskConformance):
    spec = next(iter(grafthub_qa.hub_tasks()))
    examples = (
        {
            "question": "Who won?",
            "context": "The team from Paris won the game.",
            "answers": ({"text": "The team from Paris", "answer_start": 0},),
        },
        {
            "question": "What came after the rain?",
            "context": "First there was rain, then the sun.",
            "answers": ({"text": "the sun", "answer_start": 27},),
        },
    )


class TestTranslation(TaskConformance):
    spec = next(iter(grafthub_translation.hub_tasks()))
    options: ClassVar = {"source_language": "en", "target_language": "fr"}
    examples = (
        {"source": "Two dogs play.", "target": "Deux chiens jouent."},
        {"source": "At the café.", "target": "Au café."},
    )
