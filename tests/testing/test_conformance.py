"""The suite passes for sound tasks of every head kind, and each of its tests fails for the flaw it names."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field as Setting

from hub.api import (
    AdapterInfo,
    BadData,
    BadRequest,
    Example,
    Features,
    Field,
    FieldKind,
    HeadKind,
    Model,
    Output,
    Row,
    Tokenizer,
)
from hub.errors import BadPlugin
from hub.registry.loaded import LoadedTask
from hub.testing import imports
from hub.testing.conformance import TaskConformance
from hub.testing.imports import heavy_imports
from tests.support.sound_tasks import (
    Request,
    Response,
    Several,
    Sound,
    Spans,
    Suite,
    Tokens,
    Vectors,
    Words,
    run_test,
    spec,
)


class TestSequence(Suite):
    pass


class TestSeveralLabels(Suite):
    task = Several
    examples = ({"text": "good food", "labels": ("good", "food")}, {"text": "bad", "labels": ()})


class TestToken(Suite):
    task = Tokens
    spec = spec(HeadKind.TOKEN)


class TestSpan(Suite):
    task = Spans
    spec = spec(HeadKind.SPAN)


class TestGenerate(Suite):
    task = Words
    spec = spec(HeadKind.GENERATE)


class TestEmbedding(Suite):
    task = Vectors
    spec = spec(HeadKind.EMBEDDING)

    @pytest.fixture
    def loaded(self) -> LoadedTask:
        class Shaped(Vectors):
            def metrics(
                self, predictions: Sequence[Response], references: Sequence[Example]
            ) -> dict[str, float]:
                return {"accuracy": 1.0}

        return LoadedTask(self.spec, Shaped(), Request, Response)


class OrderOfExamples(Sound):
    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(example["label"] for example in examples))


class Annotated(Request):
    note: str = Setting("", exclude=True)


class Forgets(Sound):
    def request(self, example: Example) -> Request:
        return Annotated(text=example["text"], note="not in the JSON")


class Random(Sound):
    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        ids = list(tokenizer(request.text)["input_ids"])
        return [Row([*ids, random.randrange(10**9)])]


class Endless(Sound):
    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        return [Row(tokenizer(request.text, verbose=False)["input_ids"])]


class Silent(Sound):
    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        return []


class Ambiguous(Sound):
    def head_labels(self, adapter: AdapterInfo) -> tuple[str, ...]:
        return (*adapter.labels, *adapter.labels)


class Overwrites(Sound):
    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        values = outputs[0].values
        values -= values.max()
        return super().decode(request, outputs, adapter)


class NotANumber(Sound):
    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said="good", score=float("nan"))


class WrongTarget(Sound):
    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        [item] = super().features(example, tokenizer, adapter)
        return [{**item, "labels": len(adapter.labels)}]


class Skewed(Sound):
    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        return super().features({**example, "text": example["text"].upper() + "!"}, tokenizer, adapter)


class AcceptsAll(Sound):
    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        return [{"input_ids": [1], "labels": 0}]


class Reversed(Sound):
    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said=adapter.labels[int(outputs[0].values.argmin())])


class Infinite(Sound):
    def metrics(self, predictions: Sequence[Response], references: Sequence[Example]) -> dict[str, float]:
        return {"accuracy": float("inf")}


class Slow(Sound):
    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        time.sleep(0.25)
        return super().encode(request, tokenizer, adapter)


class SlowAnswer(Sound):
    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        time.sleep(0.25)
        return super().decode(request, outputs, adapter)


class Untrainable(Sound):
    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        raise BadData("is not in this language")


class HalfALabel(Sound):
    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        return [{**item, "labels": 0.5} for item in super().features(example, tokenizer, adapter)]


class TextsForIds(Sound):
    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        [item] = super().features(example, tokenizer, adapter)
        return [{**item, "input_ids": [str(token) for token in item["input_ids"]]}]


class LoadedOtherwise(Sound):
    """Declares another kind than the one that its methods take."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("text", FieldKind.TEXT, "A text."),
        Field("label", FieldKind.LABELS, "Its label."),
    )


class IgnoresAll(Tokens):
    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        [item] = super().features(example, tokenizer, adapter)
        return [{**item, "labels": [-100] * len(item["input_ids"])}]


class NeverItsExample(Sound):
    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        raise BadRequest("Not like this.")


class Undeclared(Sound):
    fields: ClassVar[tuple[Field, ...]] = (Field("text", FieldKind.TEXT, "A text."),)


class Lossy(Sound):
    class Options(Model):
        limit: float = float("nan")

    options = Options


FLAWS = [
    (Undeclared, TaskConformance.test_examples_have_the_fields_that_the_task_declares),
    (OrderOfExamples, TaskConformance.test_labels_are_names_in_an_order_that_the_examples_do_not_decide),
    (Ambiguous, TaskConformance.test_the_outputs_of_the_head_have_names),
    (Lossy, TaskConformance.test_options_survive_json),
    (Forgets, TaskConformance.test_requests_survive_json),
    (Random, TaskConformance.test_encode_gives_the_same_rows_each_time_and_changes_nothing),
    (Silent, TaskConformance.test_rows_are_well_formed),
    (Endless, TaskConformance.test_rows_of_a_long_request_fit_the_limit),
    (Overwrites, TaskConformance.test_decode_answers_any_output_the_same_each_time_and_changes_nothing),
    (NotANumber, TaskConformance.test_decode_answers_any_output_the_same_each_time_and_changes_nothing),
    (WrongTarget, TaskConformance.test_features_suit_the_head),
    (Skewed, TaskConformance.test_training_sees_the_rows_that_serving_will_send),
    (AcceptsAll, TaskConformance.test_an_unknown_label_is_bad_data),
    (Reversed, TaskConformance.test_correct_answers_get_the_best_metric),
    (Infinite, TaskConformance.test_metrics_are_numbers_and_not_better_than_the_best),
    (Untrainable, TaskConformance.test_training_takes_the_examples_as_the_loader_reads_them),
    (HalfALabel, TaskConformance.test_training_takes_the_examples_as_the_loader_reads_them),
    (TextsForIds, TaskConformance.test_training_takes_the_examples_as_the_loader_reads_them),
    (LoadedOtherwise, TaskConformance.test_training_takes_the_examples_as_the_loader_reads_them),
    (Slow, TaskConformance.test_encode_and_decode_are_quick),
    (SlowAnswer, TaskConformance.test_encode_and_decode_are_quick),
    (NeverItsExample, TaskConformance.test_the_examples_of_the_schemas_are_valid_and_answered),
]


@pytest.mark.parametrize(("flawed", "test"), FLAWS, ids=lambda value: value.__name__)
def test_a_flaw_fails_the_test_that_names_it(flawed: type[Sound], test: Any) -> None:
    assert run_test(Sound, test) is None
    assert isinstance(run_test(flawed, test), AssertionError | ValueError | BadPlugin | pytest.fail.Exception)


def test_a_task_whose_labels_are_all_ignored_fails() -> None:
    test = TaskConformance.test_training_takes_the_examples_as_the_loader_reads_them
    assert run_test(Tokens, test, HeadKind.TOKEN) is None
    assert "nothing is learned" in str(run_test(IgnoresAll, test, HeadKind.TOKEN))


def test_an_example_of_a_schema_that_json_cannot_give_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    test = TaskConformance.test_the_examples_of_the_schemas_are_valid_and_answered
    for example in ({"text": 3}, {"txt": "fine"}, {}):
        monkeypatch.setitem(Request.model_config, "json_schema_extra", {"examples": [example]})
        Request.model_rebuild(force=True)
        assert run_test(Sound, test) is not None
    monkeypatch.undo()
    Request.model_rebuild(force=True)
    assert run_test(Sound, test) is None


@pytest.mark.parametrize("where", ["spec", "task"])
def test_a_heavy_import_at_the_top_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    heavy = {
        name: "import torch\n" if name == where else "def f():\n    import torch\n"
        for name in ("spec", "task")
    }
    package, info = tmp_path / "acme_heavy", tmp_path / "acme_heavy-1.0.dist-info"
    for folder in (package, info, tmp_path / "torch"):
        folder.mkdir()
        (folder / "__init__.py").touch()
    for name, text in heavy.items():
        (package / f"{name}.py").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-heavy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hub.tasks.v1]\nheavy = acme_heavy.spec\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = heavy_imports(spec(HeadKind.SEQUENCE, "acme_heavy.task"))
    assert found == f"importing acme_heavy.{where} imports torch: import them in the function that needs them"
    (package / f"{where}.py").write_text("")
    imports._heavy.cache_clear()
    assert heavy_imports(spec(HeadKind.SEQUENCE, "acme_heavy.task")) == ""
