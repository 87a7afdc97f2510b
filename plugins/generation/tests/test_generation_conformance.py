"""The generation task does what the hub relies on."""

from __future__ import annotations

from typing import ClassVar

from grafthub_generation import hub_tasks

from hub.testing.conformance import TaskConformance

(SPEC,) = hub_tasks()

PAIRS = (
    {"prompt": "The capital of France is", "completion": "Paris."},
    {"prompt": "Zwei und zwei sind\n", "completion": "vier: 2 + 2 = 4!"},
)
CHATS = (
    {
        "messages": (
            {"role": "system", "content": "You answer briefly."},
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Name a river."},
            {"role": "assistant", "content": "The Rhine, or the Seine."},
        )
    },
    {
        "messages": ({"role": "user", "content": "And a city?"},),
        "completion": "Köln",
    },
)


class TestText(TaskConformance):
    spec = SPEC
    examples = PAIRS
    options: ClassVar = {"max_new_tokens": 16}


class TestPairsAsChats(TaskConformance):
    spec = SPEC
    examples = (*PAIRS, {**PAIRS[0], "system": "You are a map."})
    options: ClassVar = {"prompt_as": "chat", "system_prompt": "You answer briefly."}


class TestChats(TaskConformance):
    spec = SPEC
    examples = CHATS
