"""Inputs that the conformance tests derive from a task's examples, and checks of one row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from typing import Any

import numpy as np
from pydantic import BaseModel

from hub.api import (
    AdapterInfo,
    Example,
    FieldKind,
    HeadKind,
    Output,
    Row,
    TargetKind,
    Task,
    TaskSpec,
    Tokenizer,
)
from hub.engine.fake import FakeEngine
from hub.engine.protocol import AdapterWeights, EngineRow
from hub.registry.loaded import LoadedTask

__all__ = [
    "KINDS",
    "assert_row",
    "assert_survives_json",
    "assert_target",
    "assert_tensors",
    "fake_outputs",
    "lengthened",
    "row_key",
    "sample_texts",
    "streamed_in_pieces",
    "tokenizer_for",
    "with_length",
    "with_strange_label",
]

KINDS: Mapping[FieldKind, type | tuple[type, ...]] = {
    FieldKind.TEXT: str,
    FieldKind.LABEL: str,
    FieldKind.LABELS: tuple,
    FieldKind.ANSWERS: tuple,
    FieldKind.TOKENS: tuple,
    FieldKind.TAGS: tuple,
    FieldKind.ENTITIES: tuple,
    FieldKind.RELATIONS: tuple,
    FieldKind.NUMBER: (int, float),
    FieldKind.MESSAGES: tuple,
}


@cache
def tokenizer_for(head: HeadKind) -> Tokenizer:
    """Return a real fast tokenizer: bytes with a chat template for GENERATE, else word pieces."""
    from hub.testing.tiny_tokenizers import BERT, LLAMA, tiny_tokenizer

    tokenizer: Tokenizer = tiny_tokenizer(LLAMA if head is HeadKind.GENERATE else BERT)
    return tokenizer


def fake_outputs(spec: TaskSpec, rows: Sequence[Row], adapter: AdapterInfo) -> list[Output]:
    """Return the outputs of the fake engine, in read-only arrays."""
    engine = FakeEngine(slots=1)
    labels = 2 if spec.head is HeadKind.SPAN else len(adapter.labels)
    engine.write(1, AdapterWeights(spec.head, {}, {}, labels, sha256=adapter.name))
    outputs = engine.run([EngineRow(row, 1, spec.head) for row in rows])
    for output in outputs:
        if output.values is not None:
            output.values.setflags(write=False)
    return outputs


def with_length(adapter: AdapterInfo, length: int) -> AdapterInfo:
    return replace(adapter, max_length=length)


def with_strange_label(kind: FieldKind, value: Any) -> Any:
    """Return a field's value with a label that no example has; unchanged if it has no label."""
    if not value:
        return value
    if kind is FieldKind.LABEL:
        return "no such label"
    if kind is FieldKind.LABELS:
        return ("no such label",)
    if kind is FieldKind.TAGS:
        return ("B-no such label", *value[1:])
    if kind in (FieldKind.ENTITIES, FieldKind.RELATIONS):
        return ({**value[0], "label": "no such label"}, *value[1:])
    return value


def lengthened(example: Example, loaded: LoadedTask, times: int = 200) -> dict[str, Any]:
    """Return the example with its longest text, or its tokens, repeated."""
    given = [field for field in loaded.task.fields if example.get(field.name)]
    tokens = [field.name for field in given if field.kind in (FieldKind.TOKENS, FieldKind.TAGS)]
    longer = {name: example[name] * times for name in tokens}
    if texts := [field.name for field in given if field.kind is FieldKind.TEXT]:
        longest = max(texts, key=lambda name: len(example[name]))
        longer[longest] = " ".join([example[longest]] * times)
    return {**example, **longer}


def row_key(row: Row) -> tuple[object, ...]:
    """Return the parts of a row that the engine reads."""
    types = None if row.token_type_ids is None else list(row.token_type_ids)
    return list(row.input_ids), types, row.max_new_tokens, row.sampling, row.pooling


def sample_texts(rows: int) -> list[list[str]]:
    """Return texts that a model may generate for each of `rows` rows: with white space around, and empty."""
    texts = [f" The answer of row {row}:\n\n日本, 👍🏽. \n" for row in range(rows)]
    gaps = [text if row % 3 == 1 else "" for row, text in enumerate(texts)]
    return [texts, [text.strip() for text in texts], gaps, [" \n"] * rows]


def streamed_in_pieces(
    task: Task[Any, Any], request: BaseModel, rows: Sequence[Row], adapter: AdapterInfo, texts: Sequence[str]
) -> list[str | None]:
    """Return what is streamed if the texts arrive whole, whole from the last row on, and by character.

    Three streams run at once. None: nothing is streamed before the answer is complete.
    """
    whole: list[tuple[int, str | None]] = [
        (row, end) for row, text in enumerate(texts) for end in (text, None)
    ]
    backwards = sorted(whole, key=lambda arrival: -arrival[0])
    characters = [
        (row, text[place] if place < len(text) else None)
        for place in range(max(map(len, texts)) + 1)
        for row, text in enumerate(texts)
        if place <= len(text)
    ]
    arrivals = [whole, backwards, characters]
    streams = [task.stream(request, rows, adapter) for _ in arrivals]
    parts: list[list[str]] = [[] for _ in arrivals]
    for step in zip_longest(*arrivals):
        for stream, arrival, of_stream in zip(streams, step, parts, strict=True):
            if stream and arrival:
                row, text = arrival
                part = stream.end(row) if text is None else stream.add(row, text) if text else ""
                assert isinstance(part, str), f"a part must be a str, not {part!r}"
                of_stream.append(part)
    unchanged = texts[0] if len(texts) == 1 else None
    return [
        "".join(of_stream) if stream else unchanged for stream, of_stream in zip(streams, parts, strict=True)
    ]


def assert_survives_json(value: BaseModel) -> None:
    text = value.model_dump_json()
    assert type(value).model_validate_json(text) == value
    assert "NaN" not in json.dumps(value.model_dump(mode="json"))


def assert_row(row: Row, adapter: AdapterInfo, head: HeadKind) -> None:
    assert isinstance(row, Row)
    assert 0 < len(row.input_ids) <= adapter.max_length
    assert all(isinstance(token, int | np.integer) for token in row.input_ids)
    assert row.token_type_ids is None or len(row.token_type_ids) == len(row.input_ids)
    assert row.max_new_tokens > 0 or head is not HeadKind.GENERATE, "set max_new_tokens"


def assert_target(item: Mapping[str, Any], spec: TaskSpec, adapter: AdapterInfo) -> None:
    length, labels, head = len(item["input_ids"]), len(adapter.labels), spec.head
    if spec.target is not TargetKind.LABELS:
        assert "labels" not in item, "number() gives the target"
        return
    if head is HeadKind.SPAN:
        assert 0 <= item["start_positions"] <= item["end_positions"] < length
    elif head is HeadKind.SEQUENCE and np.ndim(item["labels"]) == 0:
        assert 0 <= item["labels"] < labels
    elif head is HeadKind.SEQUENCE:
        assert len(item["labels"]) == labels
        assert all(isinstance(value, float) and 0 <= value <= 1 for value in item["labels"])
    elif head is HeadKind.TOKEN:
        assert len(item["labels"]) == length
        assert all(label == -100 or 0 <= label < labels for label in item["labels"])
    elif head is HeadKind.EMBEDDING:
        assert item["good"]["input_ids"]
    elif adapter.encoder_decoder:
        assert 0 < len(item["labels"]) <= adapter.max_length
        assert any(label != -100 for label in item["labels"]), "nothing is learned from this example"
    elif head is HeadKind.GENERATE:
        pairs = list(zip(item["labels"], item["input_ids"], strict=True))
        assert all(label in (-100, token) for label, token in pairs)
        assert any(label != -100 for label, _ in pairs), "nothing is learned from this example"


def assert_tensors(features: Sequence[Mapping[str, Any]], head: HeadKind) -> None:
    """Assert that training can make tensors of the features, and learns from them."""
    assert features, "no example has features"
    for item in features:
        for tokens in (item, *(item[key] for key in ("good", "bad") if key in item)):
            for key in ("input_ids", "token_type_ids"):
                assert all(map(_is_integer, tokens.get(key, ()))), f"{key} must be integers"
        if head is HeadKind.SPAN:
            assert _is_integer(item["start_positions"]) and _is_integer(item["end_positions"])
        elif head in (HeadKind.TOKEN, HeadKind.GENERATE):
            assert all(map(_is_integer, item["labels"])), "labels must be integers"
    if head in (HeadKind.TOKEN, HeadKind.GENERATE):
        learned = {label for item in features for label in item["labels"]} - {-100}
        assert learned, "nothing is learned: all labels are -100"


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
