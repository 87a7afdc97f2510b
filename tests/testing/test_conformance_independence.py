"""The suite finds answers that depend on anything but the request, the adapter and the outputs."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from hub.api import (
    AdapterInfo,
    Example,
    Features,
    Output,
    Row,
    Tokenizer,
)
from hub.errors import BadPlugin
from hub.testing.conformance import TaskConformance
from tests.support.sound_tasks import (
    Request,
    Response,
    Sound,
    run_test,
)


class Remembers(Sound):
    """Keeps the request between encode and decode."""

    last = ""

    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        self.last = request.text
        time.sleep(0.002)
        return super().encode(request, tokenizer, adapter)

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said=self.last)


class CachesByText(Sound):
    """Mixes the adapters up that are asked the same."""

    known: ClassVar[dict[str, Response]] = {}

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        if request.text not in self.known:
            self.known[request.text] = super().decode(request, outputs, adapter)
        return self.known[request.text]


class Normalizes(Sound):
    """Compares a score with those of other requests."""

    def __init__(self) -> None:
        self.scores: list[float] = []

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        answer = super().decode(request, outputs, adapter)
        self.scores = [*self.scores, answer.score][-8:]
        return answer.model_copy(update={"score": answer.score - max(self.scores)})


class EveryThird(Sound):
    """Counts its calls."""

    calls = 0

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        self.calls += 1
        return Response(said="none") if self.calls % 3 == 0 else super().decode(request, outputs, adapter)


class Fitted(Sound):
    """Keeps what only the process of training knows."""

    weight = 1.0

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        self.weight = 2.0
        return super().features(example, tokenizer, adapter)

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        answer = super().decode(request, outputs, adapter)
        return answer.model_copy(update={"score": answer.score * self.weight})


class BySecond(Sound):
    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said=time.strftime("%j", time.gmtime(time.time())))


class ByDay(Sound):
    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said=str(datetime.now(tz=UTC).date()))


class Drawn(Sound):
    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        drawn = random.random()
        return super().decode(request, outputs, adapter).model_copy(update={"score": drawn})


class EmptiesTheExample(Sound):
    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        features = super().features(example, tokenizer, adapter)
        example["label"] = ""  # type: ignore[index]
        return features


class ChangesTheRequest(Sound):
    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        vars(request)["text"] = request.text.strip() + "!"
        return super().decode(request, outputs, adapter)


class CutsLeft(Sound):
    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        tokenizer.truncation_side = "left"
        return super().encode(request, tokenizer, adapter)


FLAWS = [
    (Remembers, TaskConformance.test_threads_with_different_limits_get_the_answers_one_thread_gets),
    (Remembers, TaskConformance.test_answers_depend_on_no_other_request_and_no_other_adapter),
    (CachesByText, TaskConformance.test_answers_depend_on_no_other_request_and_no_other_adapter),
    (Normalizes, TaskConformance.test_answers_depend_on_no_other_request_and_no_other_adapter),
    (EveryThird, TaskConformance.test_answers_depend_on_no_other_request_and_no_other_adapter),
    (Fitted, TaskConformance.test_a_server_gives_the_answers_of_the_process_that_trained),
    (BySecond, TaskConformance.test_answers_depend_neither_on_chance_nor_on_the_time),
    (ByDay, TaskConformance.test_answers_depend_neither_on_chance_nor_on_the_time),
    (Drawn, TaskConformance.test_answers_depend_neither_on_chance_nor_on_the_time),
    (EmptiesTheExample, TaskConformance.test_nothing_that_a_task_is_given_is_changed),
    (ChangesTheRequest, TaskConformance.test_nothing_that_a_task_is_given_is_changed),
    (CutsLeft, TaskConformance.test_nothing_that_a_task_is_given_is_changed),
]


@pytest.mark.parametrize(("flawed", "test"), FLAWS, ids=lambda value: value.__name__)
def test_a_flaw_fails_the_test_that_names_it(flawed: type[Sound], test: Any) -> None:
    assert run_test(Sound, test) is None
    assert isinstance(run_test(flawed, test), AssertionError | ValueError | BadPlugin | pytest.fail.Exception)
