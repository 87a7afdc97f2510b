"""The qa task does what the hub relies on."""

from __future__ import annotations

from typing import ClassVar

from grafthub_qa import hub_tasks

from hub.testing.conformance import TaskConformance

(SPEC,) = hub_tasks()
CONTEXT = "The team won the game in London, by the river, and lost in Paris."


def example(question: str, answer: str) -> dict[str, object]:
    return {
        "question": question,
        "context": CONTEXT,
        "answers": ({"text": answer, "answer_start": CONTEXT.index(answer)},) if answer else (),
    }


class TestAnswers(TaskConformance):
    spec = SPEC
    examples = (example("Where was it won?", "London"), example("Where was it lost?", "Paris"))
    options: ClassVar = {"no_answer": False}


class TestNoAnswer(TaskConformance):
    spec = SPEC
    examples = (example("Where was it won?", "in London"), example("What was the price?", ""))
    options: ClassVar = {"doc_stride": 16, "null_threshold": 1.0}
