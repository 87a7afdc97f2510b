"""The texts of an example: cleaned and masked in place, with every label where it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.api import Example, Field, FieldKind
from hub.data.cleaning import Aligned, cleaner
from hub.data.fields import Filtered, Unusable
from hub.data.pii import Detector, Found, make_detector
from hub.recipe.recipe import Recipe

__all__ = ["Texts", "Treated"]

_OFFSETS = (FieldKind.ANSWERS, FieldKind.ENTITIES)
_CUTS = frozenset({"html", "urls"})  # take out what a reader sees


@dataclass(frozen=True, slots=True)
class Treated:
    """An example to train on, and the same one as a client would send it.

    `sent` is masked, where the recipe asks for that, and never cleaned. `changed` names keys of `data.clean`,
    and `pii` if something was masked; `pii` counts what was found, by kind.
    """

    example: Example
    sent: Example
    changed: tuple[str, ...]
    pii: Mapping[str, int]


class Texts:
    """Cleans and masks examples of one task as a recipe says."""

    def __init__(self, recipe: Recipe, fields: Sequence[Field]) -> None:
        self._rules = recipe.data.clean
        self._clean = cleaner(recipe.data.clean)
        self._find = make_detector(recipe)
        self._mask = recipe.data.pii.action == "mask"
        self._fields = fields

    def treat(self, example: Example) -> Treated:
        """Clean and mask one example.

        Raises:
            LeftOut: its longest text is too short or too long, or a text is empty once cleaned.
            Unusable: it holds personal data to be masked, and offsets that might be of another text.
        """
        cleaned, changed = self._cleaned(example)
        self._check(cleaned)
        if self._find is None:
            return Treated(cleaned, example, changed, {})
        masked, found = self._masked(cleaned, self._find)
        if not self._mask:
            return Treated(cleaned, example, changed, found)
        sent = self._masked(example, self._find)[0] if changed else masked
        return Treated(masked, sent, (*changed, "pii") if found else changed, found)

    def _cleaned(self, example: Example) -> tuple[Example, tuple[str, ...]]:
        anchor = self._anchor(example)
        changed: dict[str, None] = {}
        new = dict(example)
        for name in self._texts(example):
            if anchor is None:
                break
            text = Aligned(example[name])
            kinds = self._clean(text)
            if not kinds or (not text.text and not _CUTS.intersection(kinds)):
                continue  # a text of nothing visible is the task's to refuse
            moved = self._moved(example, text) if name == anchor else {}
            if moved is not None:
                new |= {name: text.text, **moved}
                changed |= dict.fromkeys(kinds)
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
                raise Unusable("holds personal data to be masked, and offsets that may be of another text")
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
        return (new if counts and self._mask else example), counts

    def _texts(self, example: Example) -> list[str]:
        return [
            field.name
            for field in self._fields
            if field.kind is FieldKind.TEXT and isinstance(example[field.name], str)
        ]

    def _offsets(self, example: Example) -> list[Field]:
        return [field for field in self._fields if field.kind in _OFFSETS and example[field.name]]

    def _anchor(self, example: Example) -> str | None:
        """Return the text that the offsets are of, "" if there are none, None if that cannot be told."""
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
        """Return the fields of offsets for a changed text; None if a label would be of nothing."""
        new: dict[str, Any] = {}
        for field in self._offsets(example):
            move = _moved_answer if field.kind is FieldKind.ANSWERS else _moved_entity
            moved = [move(item, text) for item in example[field.name]]
            if None in moved:
                return None
            new[field.name] = tuple(moved)
        return new

    def _check(self, example: Example) -> None:
        least, most = self._rules.min_chars, self._rules.max_chars
        lengths = [len(example[name]) for name in self._texts(example)]
        for field in self._fields:
            value = example[field.name]
            if field.kind is FieldKind.TOKENS and value:
                lengths.append(len(" ".join(value)))
            if field.kind is FieldKind.TEXT and field.required and not value.strip():
                raise Filtered("empty once cleaned")
        longest = max(lengths, default=0)
        if least is not None and longest < least:
            raise Filtered("shorter than clean.min_chars")
        if most is not None and longest > most:
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


def _masked_tokens(tokens: Sequence[str], found: Sequence[Found]) -> tuple[str, ...]:
    """Replace every token that has a part of what was found; there are as many tokens as before."""
    new, at = [], 0
    for token in tokens:
        end = at + len(token)
        hit = next((one for one in found if one.start < end and one.end > at), None)
        new.append(hit.mask if hit else token)
        at = end + 1
    return tuple(new)
