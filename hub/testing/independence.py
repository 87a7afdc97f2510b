"""The part of the conformance tests on what an answer must not depend on, and what a task must not do."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import BaseModel

from hub.api import AdapterInfo, BadRequest, Row, Tokenizer
from hub.registry.loaded import LoadedTask
from hub.testing.afresh import another_day, task_afresh
from hub.testing.given import GivenTask
from hub.testing.imports import heavy_imports
from hub.testing.samples import assert_survives_json, fake_outputs, row_key, with_length

__all__ = ["IndependenceTests"]

OTHERS = 3  # adapters beside the one of the tests
RUNS = 3


class IndependenceTests(GivenTask):
    """An answer depends on its request, the adapter and the outputs of the model alone."""

    def test_answers_depend_on_no_other_request_and_no_other_adapter(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        others = [replace(adapter, name=f"other-{number}", version=number) for number in range(2, 2 + OTHERS)]
        infos = [adapter, *others, with_length(adapter, adapter.max_length // 2)]
        requests = self._requests(loaded)
        alone = []
        for info in infos:
            fresh = task_afresh(loaded)  # it has seen no other adapter
            alone += [self._answer(fresh, request, tokenizer, info) for request in requests]
        jobs = [(request, info) for info in infos for request in requests]
        for order in (jobs, jobs[::-1]):  # a forward has the rows of many requests: all are encoded first
            encoded = [_rows(loaded, request, tokenizer, info) for request, info in order]
            answers = [
                self._decoded(loaded, request, rows, info)
                for (request, info), rows in zip(order[::-1], encoded[::-1], strict=True)
            ]
            expected = alone[::-1] if order is jobs else alone
            for (request, info), answer, wanted in zip(order[::-1], answers, expected, strict=True):
                assert answer == wanted, f"{request!r} of {info.name} beside others: {answer} != {wanted}"

    def test_a_server_gives_the_answers_of_the_process_that_trained(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        settings = MappingProxyType(json.loads(json.dumps(dict(adapter.settings))))
        stored = replace(adapter, name="imported", version=7, settings=settings)
        for example in self.examples:  # as training does
            loaded.task.features(example, tokenizer, adapter)
        serving = task_afresh(loaded)
        for request in self._requests(loaded):
            trained = self._answer(loaded, request, tokenizer, adapter)
            assert self._answer(serving, request, tokenizer, stored, outputs_of=adapter) == trained

    def test_answers_depend_neither_on_chance_nor_on_the_time(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        requests = self._requests(loaded)
        today = [self._answer(loaded, request, tokenizer, adapter) for request in requests]
        with another_day(loaded):
            tomorrow = [self._answer(loaded, request, tokenizer, adapter) for request in requests]
        assert tomorrow == today

    def test_nothing_that_a_task_is_given_is_changed(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        task, examples, answers = loaded.task, copy.deepcopy(list(self.examples)), []
        settings, state = copy.deepcopy(dict(adapter.settings)), _state(tokenizer)

        def same(method: str) -> None:
            assert examples == list(self.examples), f"{method} changes the examples"
            assert dict(adapter.settings) == settings, f"{method} changes the settings of the adapter"
            assert _state(tokenizer) == state, f"{method} changes the tokenizer"

        task.labels(examples)
        same("labels()")
        for example in examples:
            request = task.request(example)
            same("request()")
            before = copy.deepcopy(request)
            rows = task.encode(request, tokenizer, adapter)
            assert request == before, "encode() changes the request"
            same("encode()")
            keys, metas = [row_key(row) for row in rows], [_plain(row.meta) for row in rows]
            outputs = fake_outputs(self.spec, rows, adapter)
            answers.append(task.decode(request, outputs, adapter))
            assert request == before, "decode() changes the request"
            assert len(outputs) == len(rows), "decode() changes the list of outputs"
            assert [row_key(row) for row in rows] == keys, "decode() changes the rows"
            assert [_plain(row.meta) for row in rows] == metas, "decode() changes the meta of the rows"
            same("decode()")
            task.features(example, tokenizer, adapter)
            same("features()")
        dumps = [answer.model_dump() for answer in answers]
        task.metrics(task.judged(answers, examples), examples)
        assert [answer.model_dump() for answer in answers] == dumps, "metrics() changes the answers"
        same("metrics()")

    def test_encode_and_decode_are_quick(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        for request in self._requests(loaded):
            rows = loaded.task.encode(request, tokenizer, adapter)
            outputs = fake_outputs(self.spec, rows, adapter)
            took = _seconds(lambda given=request: loaded.task.encode(given, tokenizer, adapter))  # type: ignore[misc]
            assert took <= self.max_step_s, f"encode() takes {took:.2f} s"
            took = _seconds(lambda given=request, made=outputs: loaded.task.decode(given, made, adapter))  # type: ignore[misc]
            assert took <= self.max_step_s, f"decode() takes {took:.2f} s"

    def test_the_examples_of_the_schemas_are_valid_and_answered(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        answered = 0
        for model in (loaded.request, loaded.response):
            examples = model.model_json_schema().get("examples", [])
            assert examples, f"{model.__name__} has no example"
            for example in examples:
                found = model.model_validate_json(json.dumps(example))
                assert_survives_json(found)
                given = found.model_dump(mode="json", include=set(example))
                assert given == example, f"{model.__name__} reads {example} as {given}"
                if isinstance(found, loaded.request):
                    answered += not isinstance(self._answer(loaded, found, tokenizer, adapter), str)
        assert answered, "no example of the request is answered"

    def test_no_heavy_library_is_imported_at_the_top(self) -> None:
        assert not (found := heavy_imports(self.spec)), found

    def _answer(
        self,
        loaded: LoadedTask,
        request: BaseModel,
        tokenizer: Tokenizer,
        info: AdapterInfo,
        outputs_of: AdapterInfo | None = None,
    ) -> Any:
        rows = _rows(loaded, request, tokenizer, info)
        return self._decoded(loaded, request, rows, info, outputs_of)

    def _decoded(
        self,
        loaded: LoadedTask,
        request: BaseModel,
        rows: Sequence[Row] | str,
        info: AdapterInfo,
        outputs_of: AdapterInfo | None = None,
    ) -> Any:
        """Return the rows and the answer, or the message of a request that is refused."""
        if isinstance(rows, str):
            return rows
        keys = [row_key(row) for row in rows]
        answer = loaded.task.decode(request, fake_outputs(self.spec, rows, outputs_of or info), info)
        return keys, answer.model_dump()


def _rows(
    loaded: LoadedTask, request: BaseModel, tokenizer: Tokenizer, info: AdapterInfo
) -> Sequence[Row] | str:
    try:
        return loaded.task.encode(request, tokenizer, info)
    except BadRequest as error:
        return str(error)


def _plain(value: Any) -> Any:
    """Return a copy of nested values that can be compared; of other objects their type."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value if isinstance(value, str | int | float | bytes | None) else type(value)


def _state(tokenizer: Any) -> tuple[object, ...]:
    return len(tokenizer), tokenizer.truncation_side, tokenizer.padding_side


def _seconds(call: Callable[[], object]) -> float:
    """Return the least seconds of several calls."""
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return min(took)
