"""A real round trip of a task of each head, and of one that keeps what only training knows."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from grafthub_extraction import hub_tasks as extraction
from grafthub_generation import hub_tasks as generation
from grafthub_image_classification import hub_tasks as images
from grafthub_qa import hub_tasks as qa
from grafthub_sentiment import hub_tasks
from grafthub_sentiment.task import SentimentTask
from grafthub_similarity import hub_tasks as similarity

from hub.api import BadData
from hub.testing.fixtures import hub_home
from hub.testing.round_trip import RoundTripConformance
from tests.support.images import one_colour

__all__ = ["hub_home"]

(SPEC,) = hub_tasks()


class TestSentiment(RoundTripConformance):
    spec = SPEC
    examples = (
        {"text": "a good film", "label": "positive"},
        {"text": "a bad film", "label": "negative"},
    )


class TestImages(RoundTripConformance):
    spec = next(iter(images()))
    examples = (
        {"image": one_colour("red"), "label": "warm"},
        {"image": one_colour("blue"), "label": "cold"},
    )


class TestSpans(RoundTripConformance):
    spec = next(iter(qa()))
    examples = (
        {
            "question": "who won",
            "context": "the team won the game",
            "answers": ({"text": "the team", "answer_start": 0},),
        },
        {
            "question": "where",
            "context": "it was in the city",
            "answers": ({"text": "the city", "answer_start": 10},),
        },
    )


class TestTokens(RoundTripConformance):
    spec = next(iter(extraction()))
    examples = (
        {"text": "Ada is in Paris", "entities": ({"start": 10, "end": 15, "label": "LOC"},)},
        {"text": "Oslo is a city", "entities": ({"start": 0, "end": 4, "label": "LOC"},)},
    )


class TestVectors(RoundTripConformance):
    spec = next(iter(similarity()))
    examples = (
        {"query": "who won", "good": "the team won"},
        {"query": "where is it", "good": "by the river in london"},
    )


class TestText(RoundTripConformance):
    spec = next(iter(generation()))
    examples = ({"prompt": "Who won?", "completion": "We."}, {"prompt": "Where?", "completion": "Here."})
    options: ClassVar = {"max_new_tokens": 4}


def test_a_task_that_cannot_be_trained_fails(
    monkeypatch: pytest.MonkeyPatch, hub_home: Path, tmp_path: Path
) -> None:
    def refuse(task, example, *given):
        raise BadData("is in another language")

    monkeypatch.setattr(SentimentTask, "features", refuse)
    with pytest.raises(BadData):
        TestSentiment().test_the_answers_of_training_are_those_of_a_server_also_after_export_and_import(
            hub_home, tmp_path
        )


def test_a_task_that_keeps_what_only_training_knows_fails(
    monkeypatch: pytest.MonkeyPatch, hub_home: Path, tmp_path: Path
) -> None:
    features, decode = SentimentTask.features, SentimentTask.decode

    def fitted(task, example, *given):
        task.weight = 2.0
        return features(task, example, *given)

    def weighed(task, *given):
        answer = decode(task, *given)
        return answer.model_copy(update={"score": answer.score / getattr(task, "weight", 1.0)})

    monkeypatch.setattr(SentimentTask, "features", fitted)
    monkeypatch.setattr(SentimentTask, "decode", weighed)
    with pytest.raises(AssertionError, match="training saw"):
        suite = TestSentiment()
        suite.test_the_answers_of_training_are_those_of_a_server_also_after_export_and_import(
            hub_home, tmp_path
        )
