"""The translation task does what the hub relies on."""

from __future__ import annotations

from typing import ClassVar

from grafthub_translation import hub_tasks

from hub.testing.conformance import TaskConformance

(SPEC,) = hub_tasks()

EXAMPLES = (
    {"source": "A dog.", "target": "Un chien."},
    {"source": "Rain, rain; and the river!", "target": "La pluie, la pluie ; et la rivière !"},
)


class TestOnePair(TaskConformance):
    spec = SPEC
    examples = EXAMPLES
    options: ClassVar = {"source_language": "en", "target_language": "fr", "max_new_tokens": 16}


class TestEncoderDecoder(TaskConformance):
    spec = SPEC
    examples = EXAMPLES
    encoder_decoder = "t5"
    options: ClassVar = {"source_language": "en", "target_language": "fr", "glossary": ["chien"]}


class TestSeveralPairs(TaskConformance):
    spec = SPEC
    examples = tuple({**example, "source_language": "en", "target_language": "fr"} for example in EXAMPLES)
    options: ClassVar = {"pairs": [["en", "fr"], ["fr", "en"]], "template": "{target_language}: {text}"}
