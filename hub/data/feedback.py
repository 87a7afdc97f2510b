"""Converts requests with feedback to training rows of the task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hub.api import Field, FieldKind
from hub.data.examples import AnyTask
from hub.data.fields import Unusable, convert
from hub.errors import HubError
from hub.recipe.sections.data import LabelRules

__all__ = ["FeedbackRows"]

Row = dict[str, Any]

_PROBES: Mapping[FieldKind, Any] = {
    FieldKind.LABEL: "probe",
    FieldKind.TOKENS: ("probe",),
    FieldKind.TAGS: ("O",),
    FieldKind.NUMBER: 0.0,
}


class FeedbackRows:
    """Makes rows that a recipe of the task can read: the fields of the request, and the correct answer.

    `multi_label`: examples have any number of labels, so that one label is a list of one.
    """

    def __init__(self, task: AnyTask, *, multi_label: bool = False) -> None:
        self._task = task
        self._sources = _request_fields(task)
        self._rules = LabelRules()
        free = [field for field in task.fields if field.name not in self._sources]
        self._names = {field.name for field in free}
        self._label = None if multi_label else _first(free, FieldKind.LABEL)
        self._labels = _first(free, FieldKind.LABELS)
        self._answers = _first(free, FieldKind.ANSWERS)
        texts = [field for field in free if field.kind is FieldKind.TEXT]
        self._text = next((field for field in texts if field.required), next(iter(texts), None))

    def row(self, request: Mapping[str, Any], label: Any) -> Row:
        """Return the row of a request and its correct answer.

        Raises:
            Unusable: they do not fit the task; the message is the reason and quotes neither.
        """
        given = {key: value for key, value in request.items() if value is not None}
        fields = {name: given[source] for name, source in self._sources.items() if source in given}
        target = self._target(given, label)
        self._check({**fields, **target})
        plain = {"label": label} if isinstance(label, str) and "label" not in self._names else {}
        return {**given, **plain, **fields, **target}

    def flat(self, row: Row) -> Row:
        """Return a row for a file of text cells, with labels separated by commas.

        Raises:
            Unusable: its labels cannot be written this way.
        """
        labels = row.get(self._labels.name) if self._labels else None
        if labels is None or self._labels is None:
            return row
        if not labels or any("," in label for label in labels):
            raise Unusable("a list of no labels, or a label with a comma, needs a .jsonl file")
        return {**row, self._labels.name: ",".join(labels)}

    def _target(self, request: Mapping[str, Any], label: Any) -> Row:
        if isinstance(label, Mapping):
            return self._from_object(request, label)
        texts = [label] if isinstance(label, str) else list(label)
        if self._labels and (self._label is None or len(texts) != 1):
            return {self._labels.name: texts}
        if self._label and len(texts) == 1:
            return {self._label.name: texts[0]}
        if self._answers:
            return {self._answers.name: _answer_spans([text for text in texts if text.strip()], request)}
        if self._text and texts:
            return {self._text.name: texts[0]}
        raise Unusable("its label does not have the type that the task is trained on")

    def _from_object(self, request: Mapping[str, Any], label: Mapping[str, Any]) -> Row:
        if known := {name: value for name, value in label.items() if name in self._names}:
            return known
        if self._answers and label.get("no_answer") is True:
            return {self._answers.name: []}
        texts = [value for value in label.values() if isinstance(value, str)]
        if len(texts) != 1 or not (self._answers or self._text):
            raise Unusable("its label has none of the fields that the task is trained on")
        return self._target(request, texts[0])

    def _check(self, row: Row) -> None:
        example = {
            field.name: convert(field, row.get(field.name), self._rules) for field in self._task.fields
        }
        try:
            self._task.request(example)
        except HubError as error:
            raise Unusable(str(error)) from None


def _request_fields(task: AnyTask) -> dict[str, str]:
    """Map fields of the training data to fields of a request, found by converting probe values."""
    probes = {field.name: _probe(field, number) for number, field in enumerate(task.fields)}
    try:
        request = task.request(probes).model_dump()
    except Exception:  # the probe values are invalid for the task: assume equal names
        return {field.name: field.name for field in task.fields if field.kind is FieldKind.TEXT}
    sources = {value: key for key, value in request.items() if isinstance(value, str)}
    chats = [f.name for f in task.fields if f.kind is FieldKind.MESSAGES and f.name in request]
    texts = {name: sources[probe] for name, probe in probes.items() if probe in sources}
    return texts | {name: name for name in chats}


def _probe(field: Field, number: int) -> Any:
    return f"probe {number}" if field.kind is FieldKind.TEXT else _PROBES.get(field.kind, ())


def _first(fields: Iterable[Field], kind: FieldKind) -> Field | None:
    return next((field for field in fields if field.kind is kind), None)


def _answer_spans(answers: Sequence[str], request: Mapping[str, Any]) -> list[Row]:
    """Find the first occurrence of each answer in the longest text of the request that contains one."""
    texts = sorted((value for value in request.values() if isinstance(value, str)), key=len, reverse=True)
    for text in texts:
        if found := [{"text": one, "answer_start": text.find(one)} for one in answers if one in text]:
            return found
    if answers:
        raise Unusable("its label does not occur in the text of the request")
    return []
