"""Sound tasks of every head kind, and what runs one test of the conformance suite on a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import ConfigDict

from hub.api import (
    AdapterInfo,
    BadData,
    Example,
    Features,
    Field,
    FieldKind,
    HeadKind,
    Model,
    Output,
    Row,
    Task,
    TaskSpec,
    Text,
    Tokenizer,
    truncate,
)
from hub.registry.loaded import LoadedTask
from hub.testing import samples
from hub.testing.conformance import TaskConformance


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


def run_test(
    task: type[Sound], test: Any, head: HeadKind = HeadKind.SEQUENCE, response: type[Any] = Response
) -> BaseException | None:
    """Run one test of the suite on a task; return what it raised."""
    suite = Suite()
    suite.spec = spec(head)  # type: ignore[misc]
    loaded = LoadedTask(suite.spec, task(), Request, response)
    settings = task.options().model_dump(mode="json")
    adapter = AdapterInfo("demo", 1, ("bad", "good"), settings, max_length=task.max_length)
    known = {
        "loaded": loaded,
        "tokenizer": samples.tokenizer_for(head),
        "adapter": replace(adapter, labels=loaded.task.head_labels(adapter)),
        "share": 0.5,
    }
    wanted = test.__code__.co_varnames[1 : test.__code__.co_argcount]
    try:
        test(suite, **{name: known[name] for name in wanted})
    except (Exception, pytest.fail.Exception) as error:
        return error
    return None
