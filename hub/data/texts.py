"""Cleans and masks the texts of examples, and moves the offsets of their labels accordingly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.api import Example, Field, FieldKind
from hub.data.cleaning import Aligned, cleaner, cuts
from hub.data.fields import Filtered, Unusable
from hub.data.pii import Detector, PiiMatch, make_detector
from hub.errors import NotFound
from hub.recipe.recipe import Recipe

__all__ = ["Preprocessed", "Preprocessor"]

_OFFSETS = (FieldKind.ANSWERS, FieldKind.ENTITIES)


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """A cleaned example, and the same one as a client would send it.

    `sent` is not cleaned, but masked if the recipe masks. `changed` has the keys of `data.clean` that changed
    the example, and "pii" if something was masked; `pii` counts the personal data by kind.
    """

    example: Example
    sent: Example
    changed: tuple[str, ...]
    pii: Mapping[str, int]


class Preprocessor:
    """Cleans and masks examples of one task by the rules of a recipe."""

    def __init__(self, recipe: Recipe, fields: Sequence[Field]) -> None:
        self._rules = recipe.data.clean
        try:
            self._clean, self._cuts = cleaner(recipe.data.clean), cuts(recipe.data.clean)
        except NotFound as error:
            raise recipe.error("data.clean.others", str(error).rstrip(".")) from None
        self._find = make_detector(recipe)
        self._mask = recipe.data.pii.action == "mask"
        self._fields = fields

    def process(self, example: Example) -> Preprocessed:
        """Clean and mask one example.

        Raises:
            Filtered: its longest text is too short or too long, or a text is empty once cleaned.
            Unusable: it has personal data to mask, and offsets that may refer to another text.
        """
        cleaned, changed = self._cleaned(example)
        self._check(cleaned)
        if self._find is None:
            return Preprocessed(cleaned, example, changed, {})
        masked, found = self._masked(cleaned, self._find)
        if not self._mask:
            return Preprocessed(cleaned, example, changed, found)
        sent = self._masked(example, self._find)[0] if changed else masked
        return Preprocessed(masked, sent, (*changed, "pii") if found else changed, found)

    def _cleaned(self, example: Example) -> tuple[Example, tuple[str, ...]]:
        anchor = self._anchor(example)
        changed: dict[str, None] = {}
        new = dict(example)
        for name in self._texts(example):
            if anchor is None:
                break
            text = Aligned(example[name])
            kinds = self._clean(text)
            if not kinds or (not text.text and not self._cuts.intersection(kinds)):
                continue  # the task decides about texts without a visible character
            moved = self._moved(example, text) if name == anchor else {}
            if moved is not None:
                new |= {name: text.text, **moved}
                changed |= dict.fromkeys(kinds)
        for name in self._chats(example):
            texts = [Aligned(message["content"]) for message in example[name]]
            changed |= dict.fromkeys(kind for text in texts for kind in self._clean(text))
            new[name] = _with_contents(example[name], [text.text for text in texts])
        return (new if changed else example), tuple(changed)

    def _masked(self, example: Example, find: Detector) -> tuple[Example, Counter[str]]:
        counts: Counter[str] = Counter()
        new = dict(example)
        anchor = self._anchor(example)
        for name in self._texts(example):
            found = find(example[name])
            counts.update(one.kind for one in found)
            if not found or not self._mask:
                continue
            if anchor is None:
                raise Unusable("has personal data to mask, and offsets that may refer to another text")
            text = Aligned(example[name])
            text.replace([(one.start, one.end, one.mask) for one in found])
            moved = self._moved(example, text) if name == anchor else {}
            assert moved is not None, "a mask is never empty"
            new |= {name: text.text, **moved}
        for field in self._fields:
            if field.kind is FieldKind.TOKENS and (tokens := example[field.name]):
                found = find(" ".join(tokens))
                counts.update(one.kind for one in found)
                new[field.name] = _masked_tokens(tokens, found) if self._mask else tokens
        for name in self._chats(example):
            contents = []
            for message in example[name]:
                found = find(message["content"])
                counts.update(one.kind for one in found)
                text = Aligned(message["content"])
                text.replace([(one.start, one.end, one.mask) for one in found])
                contents.append(text.text)
            new[name] = _with_contents(example[name], contents)
        return (new if counts and self._mask else example), counts

    def _texts(self, example: Example) -> list[str]:
        return [
            field.name
            for field in self._fields
            if field.kind is FieldKind.TEXT and isinstance(example[field.name], str)
        ]

    def _chats(self, example: Example) -> list[str]:
        return [
            field.name for field in self._fields if field.kind is FieldKind.MESSAGES and example[field.name]
        ]

    def _offsets(self, example: Example) -> list[Field]:
        return [field for field in self._fields if field.kind in _OFFSETS and example[field.name]]

    def _anchor(self, example: Example) -> str | None:
        """Return the field whose text the offsets refer to; "" without offsets, None if it is ambiguous."""
        offsets = self._offsets(example)
        if not offsets:
            return ""
        texts = self._texts(example)
        if any(field.kind is FieldKind.ANSWERS for field in offsets):
            answers = [
                answer for field in offsets for answer in example[field.name] if "answer_start" in answer
            ]
            texts = [name for name in texts if all(_stands_in(example[name], answer) for answer in answers)]
        return texts[0] if len(texts) == 1 else None

    def _moved(self, example: Example, text: Aligned) -> dict[str, Any] | None:
        """Return the offset fields for a changed text; None if the span of a label would be empty."""
        new: dict[str, Any] = {}
        for field in self._offsets(example):
            move = _moved_answer if field.kind is FieldKind.ANSWERS else _moved_entity
            moved = [move(item, text) for item in example[field.name]]
            if None in moved:
                return None
            new[field.name] = tuple(moved)
        return new

    def _check(self, example: Example) -> None:
        lengths = [len(example[name]) for name in self._texts(example)]
        for field in self._fields:
            value = example[field.name]
            if field.kind is FieldKind.TOKENS and value:
                lengths.append(len(" ".join(value)))
            if field.kind is FieldKind.TEXT and field.required and not value.strip():
                raise Filtered("empty once cleaned")
        lengths += [len(one["content"]) for name in self._chats(example) for one in example[name]]
        longest = max(lengths, default=0)
        if longest < (self._rules.min_chars or 0):
            raise Filtered("shorter than clean.min_chars")
        if longest > (self._rules.max_chars or longest):
            raise Filtered("longer than clean.max_chars")


def _stands_in(text: str, answer: Mapping[str, Any]) -> bool:
    return text.startswith(answer["text"], answer["answer_start"])


def _moved_answer(answer: Mapping[str, Any], text: Aligned) -> dict[str, Any] | None:
    start = answer["answer_start"]
    start, end = text.moved(start, start + len(answer["text"]))
    return {"text": text.text[start:end], "answer_start": start} if start < end else None


def _moved_entity(entity: Mapping[str, Any], text: Aligned) -> dict[str, Any] | None:
    start, end = text.moved(entity["start"], entity["end"])
    return {**entity, "start": start, "end": end} if start < end else None


def _with_contents(
    messages: Sequence[Mapping[str, str]], contents: Sequence[str]
) -> tuple[Mapping[str, str], ...]:
    return tuple({**message, "content": content} for message, content in zip(messages, contents, strict=True))


def _masked_tokens(tokens: Sequence[str], found: Sequence[PiiMatch]) -> tuple[str, ...]:
    """Replace every token that overlaps a match by its mask; the number of tokens stays."""
    new, at = [], 0
    for token in tokens:
        end = at + len(token)
        hit = next((one for one in found if one.start < end and one.end > at), None)
        new.append(hit.mask if hit else token)
        at = end + 1
    return tuple(new)
