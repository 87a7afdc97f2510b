"""The conformance tests of a task, with real tokenizers and the fake engine.

    class TestTickets(TaskConformance):
        spec = next(hub_tasks())
        examples = ({"text": "It burns!", "label": "urgent"}, {"text": "Thanks.", "label": "can-wait"})

The name of each test states what the hub relies on.
"""

from __future__ import annotations

import copy
import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel

from hub.api import (
    NUMBER_METRICS,
    AdapterInfo,
    BadData,
    BadRequest,
    HeadKind,
    MetricKind,
    Output,
    Tokenizer,
)
from hub.data.examples import Item
from hub.data.features import make_features
from hub.data.fields import convert, labelled_fields
from hub.recipe.sections.data import LabelRules
from hub.registry.loaded import LoadedTask
from hub.testing.independence import IndependenceTests
from hub.testing.oracle import oracle_outputs
from hub.testing.samples import (
    KINDS,
    assert_row,
    assert_survives_json,
    assert_target,
    assert_tensors,
    fake_outputs,
    lengthened,
    row_key,
    sample_texts,
    streamed_in_pieces,
    with_length,
    with_strange_label,
)
from hub.testing.unicode_examples import misplaced, with_prefix

__all__ = ["TaskConformance"]

THREADS = 8
RULES = LabelRules()
ROOMY = 512  # tokens, enough for a whole example


class TaskConformance(IndependenceTests):
    """Subclass it as `Test…` and set `spec` and `examples`, with an example for every label."""

    def test_examples_have_the_fields_that_the_task_declares(self, loaded: LoadedTask) -> None:
        assert len(self.examples) >= 2, "give at least two examples"
        for example in self.examples:
            for field in loaded.task.fields:
                value = example.get(field.name)
                assert value is not None or not field.required, f"{field.name} is required"
                assert value is None or isinstance(value, KINDS[field.kind]), f"{field.name}: {value!r}"
        declared = {field.name for field in loaded.task.fields}
        assert {key for example in self.examples for key in example} <= declared

    def test_labels_are_names_in_an_order_that_the_examples_do_not_decide(self, loaded: LoadedTask) -> None:
        labels = loaded.task.labels(self.examples)
        assert isinstance(labels, tuple)
        assert all(isinstance(label, str) and label for label in labels)
        assert len(set(labels)) == len(labels)
        assert loaded.task.labels(self.examples[::-1]) == labels
        assert loaded.task.labels(iter(self.examples)) == labels, "examples may be any iterable"
        if loaded.labelled:
            assert labels, f"a {self.spec.head} head needs labels"

    def test_the_outputs_of_the_head_have_names(self, adapter: AdapterInfo) -> None:
        assert isinstance(adapter.labels, tuple)
        assert all(isinstance(label, str) and label for label in adapter.labels)
        assert len(set(adapter.labels)) == len(adapter.labels)

    def test_options_survive_json(self, loaded: LoadedTask) -> None:
        options = loaded.task.options.model_validate(dict(self.options))
        assert_survives_json(options)

    def test_requests_survive_json(self, loaded: LoadedTask) -> None:
        for request in self._requests(loaded):
            assert isinstance(request, loaded.request)
            assert_survives_json(request)

    def test_encode_gives_the_same_rows_each_time_and_changes_nothing(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        for request in self._requests(loaded):
            before = copy.deepcopy(request), copy.deepcopy(dict(adapter.settings))
            first = [row_key(row) for row in loaded.task.encode(request, tokenizer, adapter)]
            second = [row_key(row) for row in loaded.task.encode(request, tokenizer, adapter)]
            assert first == second
            assert (request, dict(adapter.settings)) == before

    def test_rows_are_well_formed(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        for request in self._requests(loaded):
            rows = loaded.task.encode(request, tokenizer, adapter)
            assert isinstance(rows, list)
            assert rows, "a request needs at least one row"
            for row in rows:
                assert_row(row, adapter, self.spec.head)

    @pytest.mark.parametrize("share", [1.0, 0.5])
    def test_rows_of_a_long_request_fit_the_limit(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo, share: float
    ) -> None:
        short = with_length(adapter, int(adapter.max_length * share))
        for example in self.examples:
            try:
                request = loaded.task.request(lengthened(example, loaded))
                rows = loaded.task.encode(request, tokenizer, short)
            except BadRequest:
                continue  # rejecting what does not fit is as good as truncating it
            for row in rows:
                assert_row(row, short, self.spec.head)

    def test_decode_answers_any_output_the_same_each_time_and_changes_nothing(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        for request in self._requests(loaded):
            outputs = fake_outputs(self.spec, loaded.task.encode(request, tokenizer, adapter), adapter)
            answer = loaded.task.decode(request, outputs, adapter)
            assert isinstance(answer, loaded.response)
            assert loaded.task.decode(request, outputs, adapter) == answer
            assert_survives_json(answer)

    def test_a_streamed_answer_is_the_same_for_any_pieces_and_equals_the_text_field(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        if self.spec.head is not HeadKind.GENERATE:
            pytest.skip("this head generates no text")
        short = with_length(adapter, adapter.max_length // 2)
        long = [loaded.task.request(lengthened(example, loaded, times=8)) for example in self.examples]
        for request in (*self._requests(loaded), *long):
            try:
                rows = loaded.task.encode(request, tokenizer, short)
            except BadRequest:
                continue
            for texts in sample_texts(len(rows)):
                whole, *others = streamed_in_pieces(loaded.task, request, rows, short, texts)
                assert all(other == whole for other in others), f"{[whole, *others]} of {texts}"
                if loaded.task.text_field and whole is not None:
                    outputs = [Output(row, text=text) for row, text in zip(rows, texts, strict=True)]
                    answer = loaded.task.decode(request, outputs, short)
                    assert getattr(answer, loaded.task.text_field) == whole, f"streamed {whole!r} of {texts}"

    def test_features_suit_the_head(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        for example in self.examples:
            features = loaded.task.features(example, tokenizer, adapter)
            assert features, "an example that is accepted has features"
            for item in features:
                length = len(item["input_ids"])
                assert 0 < length <= adapter.max_length
                assert "token_type_ids" not in item or len(item["token_type_ids"]) == length
                assert_target(item, self.spec, adapter)

    def test_training_takes_the_examples_as_the_loader_reads_them(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        items = []
        for line, example in enumerate(self.examples, 1):
            row = json.loads(json.dumps(dict(example)))  # of a file with JSON lines
            read = {field.name: convert(field, row.get(field.name), RULES) for field in loaded.task.fields}
            wanted = {field.name: example.get(field.name) for field in loaded.task.fields}
            assert read == wanted, f"the loader reads {row} as {read}"
            items.append(Item(read, loaded.task.request(read).model_dump_json(), "examples", line))
        features, invalid = make_features(loaded, tokenizer, adapter, items)
        assert not invalid, f"training skips {invalid}"
        assert_tensors(features, self.spec.head)

    def test_training_sees_the_rows_that_serving_will_send(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        for example in self.examples:
            rows = loaded.task.encode(loaded.task.request(example), tokenizer, adapter)
            served = [list(row.input_ids) for row in rows]
            for item in loaded.task.features(example, tokenizer, adapter):
                ids = list(item["input_ids"])
                if self.spec.head is HeadKind.GENERATE:
                    assert any(ids[: len(prompt)] == prompt for prompt in served)
                else:
                    assert ids in served
                if self.spec.head is HeadKind.EMBEDDING:
                    others = [item[key] for key in ("good", "bad") if key in item]
                    assert all(list(tokens["input_ids"]) in served for tokens in others)

    def test_an_unknown_label_is_bad_data(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        for field in labelled_fields(loaded.task.fields):
            value = self.examples[0].get(field.name)
            strange = with_strange_label(field.kind, value)
            if strange == value:
                continue
            with pytest.raises(BadData):
                loaded.task.features({**self.examples[0], field.name: strange}, tokenizer, adapter)

    def test_correct_answers_get_the_best_metric(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        roomy, answers = with_length(adapter, max(ROOMY, adapter.max_length)), []
        for example in self.examples:
            request = loaded.task.request(example)
            rows = loaded.task.encode(request, tokenizer, roomy)
            features = self._learned(loaded, example, tokenizer, roomy)
            outputs = oracle_outputs(self.spec.head, rows, features, tokenizer, roomy)
            answers.append(loaded.task.decode(request, outputs, roomy))
            if loaded.numeric:
                answered = getattr(answers[-1], loaded.task.number_field)
                assert answered == pytest.approx(loaded.number(example)), f"{answers[-1]} to {example}"
        figures = self._figures(loaded, answers)
        assert figures[loaded.task.metric] == pytest.approx(self.best), f"{answers} gave {figures}"

    def test_offsets_are_in_characters_also_after_emoji_and_combining_marks(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        roomy, answers, answered = with_length(adapter, max(ROOMY, adapter.max_length)), [], []
        for example, request in filter(None, (with_prefix(one, loaded) for one in self.examples)):
            try:
                rows = loaded.task.encode(request, tokenizer, roomy)
                features = self._learned(loaded, example, tokenizer, roomy)
            except (BadData, BadRequest):
                continue  # a task may take other texts only
            perfect = oracle_outputs(self.spec.head, rows, features, tokenizer, roomy)
            for outputs in (fake_outputs(self.spec, rows, roomy), perfect):
                answer = loaded.task.decode(request, outputs, roomy)
                wrong = misplaced(request.model_dump(), answer.model_dump())
                assert not wrong, f"in {request!r}: {wrong}"
            answers.append(answer)
            answered.append(example)
        if answers:
            figures = self._figures(loaded, answers, answered)
            assert figures[loaded.task.metric] == pytest.approx(self.best), f"{answers} gave {figures}"

    def test_metrics_are_numbers_and_not_better_than_the_best(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        answers = []
        for example in self.examples:
            request = loaded.task.request(example)
            rows = loaded.task.encode(request, tokenizer, adapter)
            answers.append(loaded.task.decode(request, fake_outputs(self.spec, rows, adapter), adapter))
        figures = self._figures(loaded, answers)
        assert loaded.task.metric in figures
        assert all(isinstance(value, float) and math.isfinite(value) for value in figures.values()), figures
        beyond = figures[loaded.task.metric] - self.best
        assert (beyond if loaded.task.metric_goal == "max" else -beyond) <= 1e-9

    def test_metrics_follow_the_formulas_that_the_task_names(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        answers, examples = [], list(self.examples)
        for example in examples:
            request = loaded.task.request(example)
            rows = loaded.task.encode(request, tokenizer, adapter)
            answers.append(loaded.task.decode(request, fake_outputs(self.spec, rows, adapter), adapter))
        scored = loaded.task.judged(answers, examples)
        whole = loaded.task.metrics(scored, examples)
        alone = [loaded.task.metrics([one], [example]) for one, example in zip(scored, examples, strict=True)]
        for name, kind in loaded.task.metric_kinds.items():
            if kind is MetricKind.MEAN and name in whole:
                mean = sum(metrics[name] for metrics in alone) / len(alone)
                assert whole[name] == pytest.approx(mean), f"{name} is not a mean over examples"
            assert kind not in NUMBER_METRICS.values() or loaded.numeric, f"{name} is not of numbers"

    def test_threads_with_different_limits_get_the_answers_one_thread_gets(
        self, loaded: LoadedTask, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> None:
        adapters = [adapter, with_length(adapter, adapter.max_length // 2)]
        requests = [loaded.task.request(lengthened(example, loaded, times=8)) for example in self.examples]
        jobs = [(request, info) for request in requests for info in adapters] * THREADS

        def answer(job: tuple[BaseModel, AdapterInfo]) -> Any:
            request, info = job
            try:
                rows = loaded.task.encode(request, tokenizer, info)
            except BadRequest as error:
                return str(error)
            return [row_key(row) for row in rows], loaded.task.decode(
                request, fake_outputs(self.spec, rows, info), info
            )

        alone = [answer(job) for job in jobs]
        with ThreadPoolExecutor(THREADS) as pool:
            assert list(pool.map(answer, jobs)) == alone
