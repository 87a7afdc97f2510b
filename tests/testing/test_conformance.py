"""The suite passes for sound tasks of every head kind, and each of its tests fails for the flaw it names."""

from __future__ import annotations

import random
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ConfigDict
from pydantic import Field as Setting

from hub.api import (
    AdapterInfo,
    AnswerStream,
    BadData,
    BadRequest,
    Example,
    Features,
    Field,
    FieldKind,
    HeadKind,
    JoinedText,
    Model,
    Output,
    Row,
    Task,
    TaskSpec,
    Text,
    Tokenizer,
    truncate,
)
from hub.errors import BadPlugin
from hub.registry.loaded import LoadedTask
from hub.testing import imports, samples
from hub.testing.conformance import TaskConformance
from hub.testing.imports import heavy_imports


class Request(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "fine food"}]})

    text: Text


class Response(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"said": "good"}]})

    said: str
    score: float = 0.0


class Sound(Task[Request, Response]):
    """One label for one text."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("text", FieldKind.TEXT, "A text."),
        Field("label", FieldKind.LABEL, "Its label."),
    )
    metric = "accuracy"
    max_length = 32

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        return tuple(sorted({example["label"] for example in examples}))

    def request(self, example: Example) -> Request:
        return Request(text=example["text"])

    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        return [Row(**truncate(tokenizer(request.text, verbose=False), adapter.max_length))]

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        values = outputs[0].values
        return Response(said=adapter.labels[int(values.argmax())], score=float(values.max()))

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        if example["label"] not in adapter.labels:
            raise BadData("unknown label")
        tokens = truncate(tokenizer(example["text"], verbose=False), adapter.max_length)
        return [{**tokens, "labels": adapter.labels.index(example["label"])}]

    def metrics(self, predictions: Sequence[Response], references: Sequence[Example]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        return {"accuracy": sum(answer.said == e["label"] for answer, e in pairs) / len(references)}


class Tokens(Sound):
    """The label of every token; the answer is that of the second one, as the first is special."""

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said=adapter.labels[int(outputs[0].values[1].argmax())])

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        [item] = super().features(example, tokenizer, adapter)
        length = len(item["input_ids"])
        return [{**item, "labels": [-100, *[item["labels"]] * (length - 2), -100]}]


class Spans(Sound):
    """The place of the label in the text."""

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        return ()

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        start, end = (int(index) for index in outputs[0].values.argmax(axis=0))
        offsets = outputs[0].row.meta["offsets"]
        return Response(said=request.text[offsets[start][0] : offsets[end][1]])

    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        encoding = tokenizer(request.text, return_offsets_mapping=True, verbose=False)
        ids = encoding["input_ids"][: adapter.max_length]
        return [Row(ids, meta={"offsets": encoding["offset_mapping"]})]

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        place = example["text"].find(example["label"])
        if place < 0:
            raise BadData("the label is not in the text")
        encoding = tokenizer(example["text"], verbose=False)
        ids = encoding["input_ids"][: adapter.max_length]
        end = place + len(example["label"]) - 1
        return [
            {
                "input_ids": ids,
                "start_positions": encoding.char_to_token(place),
                "end_positions": encoding.char_to_token(end),
            }
        ]


class Words(Sound):
    """Writes the label."""

    max_length = 64

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        return ()

    def encode(self, request: Request, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        return [Row(tokenizer(request.text, verbose=False)["input_ids"][: adapter.max_length], None, 8)]

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said=outputs[0].text)

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        if example["label"] == "no such label":
            raise BadData("unknown label")
        prompt, answer = (tokenizer(example[key], verbose=False)["input_ids"] for key in ("text", "label"))
        return [{"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}]


class Vectors(Sound):
    """Says how long the vector is."""

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        return ()

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said=str(len(outputs[0].values)))

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        if example["label"] == "no such label":
            raise BadData("unknown label")
        tokens = truncate(tokenizer(example["text"], verbose=False), adapter.max_length)
        return [{**tokens, "good": tokens}]


class Several(Sound):
    """Any number of labels."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("text", FieldKind.TEXT, "A text."),
        Field("labels", FieldKind.LABELS, "Its labels."),
    )

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        return tuple(sorted({label for example in examples for label in example["labels"]}))

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        chosen = [label for label, score in zip(adapter.labels, outputs[0].values, strict=True) if score > 0]
        return Response(said=",".join(chosen))

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        if not set(example["labels"]) <= set(adapter.labels):
            raise BadData("unknown label")
        tokens = truncate(tokenizer(example["text"], verbose=False), adapter.max_length)
        return [{**tokens, "labels": [float(label in example["labels"]) for label in adapter.labels]}]

    def metrics(self, predictions: Sequence[Response], references: Sequence[Example]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        right = sum(answer.said == ",".join(sorted(e["labels"])) for answer, e in pairs)
        return {"accuracy": right / len(references)}


def spec(head: HeadKind, module: str = "hub.api") -> TaskSpec:
    where = (f"{module}:{name}" for name in ("Request", "Response", "Task"))
    return TaskSpec("demo", "A demonstration.", head, *where)


class Suite(TaskConformance):
    """The suite on a class of this module, which has no import path of its own."""

    task: ClassVar[type[Task[Any, Any]]] = Sound
    spec = spec(HeadKind.SEQUENCE)
    examples = ({"text": "good good food", "label": "good"}, {"text": "bad rain bad", "label": "bad"})

    @pytest.fixture
    def loaded(self) -> LoadedTask:
        return LoadedTask(self.spec, self.task(), Request, Response)


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


class CutsPieces(AnswerStream):
    """Strips every piece instead of the text."""

    def add(self, row: int, text: str) -> str:
        return text.strip()


class Whole(AnswerStream):
    """Sends the text unchanged."""

    def add(self, row: int, text: str) -> str:
        return text


class StreamsPieces(Words):
    def stream(self, request: Request, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream:
        return CutsPieces()


class SharesAStream(Words):
    shared = JoinedText(["", ""])

    def stream(self, request: Request, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream:
        return self.shared


class AnswersOtherwise(Words):
    text_field = "said"

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        return Response(said=outputs[0].text.strip())


class StreamsNone(Words):
    def stream(self, request: Request, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream:
        stream = Whole()
        stream.end = lambda row: None  # type: ignore[assignment,method-assign,return-value]
        return stream


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
    assert _run(Sound, test) is None
    assert isinstance(_run(flawed, test), AssertionError | ValueError | BadPlugin | pytest.fail.Exception)


def test_a_task_whose_labels_are_all_ignored_fails() -> None:
    test = TaskConformance.test_training_takes_the_examples_as_the_loader_reads_them
    assert _run(Tokens, test, HeadKind.TOKEN) is None
    assert "nothing is learned" in str(_run(IgnoresAll, test, HeadKind.TOKEN))


class Place(Model):
    start: int
    end: int
    text: str


class Found(Model):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"said": "a", "places": [{"start": 0, "end": 1, "text": "a"}]}]}
    )

    said: str
    places: tuple[Place, ...]


class Places(Spans):
    """Says where the label is."""

    def place(self, text: str, start: int) -> int:
        return start

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Any:
        said = super().decode(request, outputs, adapter).said
        start = self.place(request.text, request.text.find(said))
        return Found(said=said, places=(Place(start=start, end=start + len(said), text=said),))


class InBytes(Places):
    def place(self, text: str, start: int) -> int:
        return len(text[:start].encode())


class InUtf16(Places):
    def place(self, text: str, start: int) -> int:
        return len(text[:start].encode("utf-16-le")) // 2


class InNormalForm(Places):
    def place(self, text: str, start: int) -> int:
        return len(unicodedata.normalize("NFC", text[:start]))


@pytest.mark.parametrize("flawed", [InBytes, InUtf16, InNormalForm])
def test_offsets_that_are_not_in_characters_fail(flawed: type[Spans]) -> None:
    test = TaskConformance.test_offsets_are_in_characters_also_after_emoji_and_combining_marks
    assert _run(Places, test, HeadKind.SPAN) is None
    assert "is not at" in str(_run(flawed, test, HeadKind.SPAN))


class ByteOffsets(Spans):
    """Cuts the bytes of the text where its characters are."""

    def decode(self, request: Request, outputs: Sequence[Output], adapter: AdapterInfo) -> Response:
        start, end = (int(index) for index in outputs[0].values.argmax(axis=0))
        offsets = outputs[0].row.meta["offsets"]
        cut = request.text.encode()[offsets[start][0] : offsets[end][1]]
        return Response(said=cut.decode(errors="replace"))


def test_an_answer_that_is_cut_in_bytes_fails() -> None:
    test = TaskConformance.test_offsets_are_in_characters_also_after_emoji_and_combining_marks
    assert _run(Spans, test, HeadKind.SPAN) is None
    assert isinstance(_run(ByteOffsets, test, HeadKind.SPAN), AssertionError)


def test_an_example_of_a_schema_that_json_cannot_give_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    test = TaskConformance.test_the_examples_of_the_schemas_are_valid_and_answered
    for example in ({"text": 3}, {"txt": "fine"}, {}):
        monkeypatch.setitem(Request.model_config, "json_schema_extra", {"examples": [example]})
        Request.model_rebuild(force=True)
        assert _run(Sound, test) is not None
    monkeypatch.undo()
    Request.model_rebuild(force=True)
    assert _run(Sound, test) is None


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


@pytest.mark.parametrize("flawed", [StreamsPieces, SharesAStream, AnswersOtherwise, StreamsNone])
def test_a_flaw_of_a_stream_fails_its_test(flawed: type[Words]) -> None:
    class Stripped(AnswersOtherwise):
        def stream(self, request: Request, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream:
            return JoinedText([""] * len(rows))

    test = TaskConformance.test_a_streamed_answer_is_the_same_for_any_pieces_and_equals_the_text_field
    assert _run(Words, test, HeadKind.GENERATE) is None
    assert _run(Stripped, test, HeadKind.GENERATE) is None
    assert isinstance(_run(flawed, test, HeadKind.GENERATE), AssertionError)


def _run(task: type[Sound], test: Any, head: HeadKind = HeadKind.SEQUENCE) -> BaseException | None:
    """Run one test of the suite on a task; return what it raised."""
    suite = Suite()
    suite.spec = spec(head)  # type: ignore[misc]
    loaded = LoadedTask(suite.spec, task(), Request, Response)
    settings = task.options().model_dump(mode="json")
    adapter = AdapterInfo("demo", 1, ("bad", "good"), settings, max_length=task.max_length)
    known = {
        "loaded": loaded,
        "tokenizer": samples.tokenizer_for(head),
        "adapter": replace(adapter, labels=loaded.task.head_labels(adapter)),
        "share": 0.5,
    }
    if isinstance(loaded.task, Places):
        known["loaded"] = replace(loaded, response=Found)
    wanted = test.__code__.co_varnames[1 : test.__code__.co_argcount]
    try:
        test(suite, **{name: known[name] for name in wanted})
    except (Exception, pytest.fail.Exception) as error:
        return error
    return None
