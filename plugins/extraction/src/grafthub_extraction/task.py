"""The task `extraction`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from grafthub_extraction.decoding import find_entities
from grafthub_extraction.examples import read_example
from grafthub_extraction.metrics import entity_scores, token_accuracy
from grafthub_extraction.models import ExtractionOptions, ExtractionRequest, ExtractionResponse
from grafthub_extraction.tags import Span, tag_names, write_tags
from grafthub_extraction.windows import Document, tokenize
from grafthub_extraction.words import Units, group_tokens, word_bounds
from hub.api import (
    AdapterInfo,
    BadData,
    BadRequest,
    Example,
    Features,
    Field,
    FieldKind,
    Output,
    Row,
    Task,
    Tokenizer,
    read_options,
    split_tag,
)

__all__ = ["ExtractionTask"]

IGNORED = -100  # by the loss


class ExtractionTask(Task[ExtractionRequest, ExtractionResponse]):
    """Tag the tokens of a text and read the tags as entities; a long text becomes overlapping windows."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("text", FieldKind.TEXT, "The text.", required=False),
        Field("entities", FieldKind.ENTITIES, "Its entities: start, end and label.", required=False),
        Field("tokens", FieldKind.TOKENS, "Instead of `text`: its words.", required=False),
        Field("tags", FieldKind.TAGS, "Instead of `entities`: a tag for each token.", required=False),
    )
    options: ClassVar[type[ExtractionOptions]] = ExtractionOptions
    metric: ClassVar[str] = "f1"
    max_length: ClassVar[int] = 256

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        """Return the types of the entities, in alphabetical order."""
        return tuple(sorted({kind for example in examples for _, _, kind in read_example(example)[1]}))

    def head_labels(self, adapter: AdapterInfo) -> tuple[str, ...]:
        """Return the tags of the adapter's scheme."""
        return tag_names(adapter.labels, read_options(ExtractionOptions, adapter).scheme)

    def request(self, example: Example) -> ExtractionRequest:
        return ExtractionRequest(text=read_example(example)[0], aggregation=None)

    def encode(self, request: ExtractionRequest, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        options = read_options(ExtractionOptions, adapter)
        document = tokenize(request.text, tokenizer)
        windows = document.windows(adapter.max_length, options.stride, options.max_windows)
        return [document.row(window) for window in windows]

    def decode(
        self, request: ExtractionRequest, outputs: Sequence[Output], adapter: AdapterInfo
    ) -> ExtractionResponse:
        options = read_options(ExtractionOptions, adapter)
        aggregation = request.aggregation or options.aggregation
        entities = find_entities(request.text, outputs, adapter.labels, aggregation, options.constrained)
        return ExtractionResponse(entities=entities)

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        """Return one feature per window; a token in two windows is trained in the one that owns it."""
        options = read_options(ExtractionOptions, adapter)
        try:
            text = self.request(example).text
            document = tokenize(text, tokenizer)
            windows = document.windows(adapter.max_length, options.stride, options.max_windows)
        except BadRequest as error:
            raise BadData(str(error)) from None
        targets = _targets(text, read_example(example)[1], document, adapter, options)
        features = []
        for window in windows:
            row = document.row(window)
            labels = np.full(len(row.input_ids), IGNORED)
            at = document.first - window.start
            own = slice(at + window.own_start, at + window.own_stop)
            labels[own] = targets[window.own_start : window.own_stop]
            if (labels == IGNORED).all():
                continue  # no targets: the mean loss would be NaN
            feature: Features = {"input_ids": row.input_ids, "labels": labels.tolist()}
            if row.token_type_ids is not None:
                feature["token_type_ids"] = row.token_type_ids
            features.append(feature)
        return features

    def metrics(
        self, predictions: Sequence[ExtractionResponse], references: Sequence[Example]
    ) -> dict[str, float]:
        predicted = [
            [(entity.start, entity.end, entity.entity_group) for entity in answer.entities]
            for answer in predictions
        ]
        texts, true = zip(*map(read_example, references), strict=True) if references else ((), ())
        return {
            **entity_scores(predicted, true),
            "token_accuracy": token_accuracy(texts, predicted, true),
        }


def _targets(
    text: str, spans: Sequence[Span], document: Document, adapter: AdapterInfo, options: ExtractionOptions
) -> list[int]:
    """Return the target of each of the text's tokens, [N]."""
    units = group_tokens(word_bounds(text), document.starts, document.ends)
    if not len(units):
        raise BadData("The text has no token of its own.")
    bilou = any(split_tag(label)[0] in ("L", "U") for label in adapter.labels)
    index = {label: number for number, label in enumerate(adapter.labels)}
    if unknown := [kind for _, _, kind in spans if f"B-{kind}" not in index]:
        raise BadData(f"Label {unknown[0]!r} is not one of those in training.")
    targets = [IGNORED] * len(document.starts)
    tags = write_tags(_unit_spans(spans, units), len(units), bilou)
    for tag, first, stop in zip(tags, units.first.tolist(), units.stop.tolist(), strict=True):
        prefix, kind = split_tag(tag)
        targets[first] = index[tag]
        if options.subwords == "all":
            rest = index["O" if prefix == "O" else f"I-{kind}"]
            targets[first + 1 : stop] = [rest] * (stop - first - 1)
    return targets


def _unit_spans(spans: Sequence[Span], units: Units) -> list[Span]:
    """Convert spans of characters to spans of the words that they touch; a word is in one span only."""
    found: list[Span] = []
    free = 0
    for start, end, kind in spans:
        first = max(free, int(np.searchsorted(units.ends, start, side="right")))
        stop = int(np.searchsorted(units.starts, end, side="left"))
        if first >= stop:
            raise BadData(f"The entity at character {start} has no word of its own.")
        found.append((first, stop, kind))
        free = stop
    return found
