"""How an answer is drawn, by the fields that it has: labels as bars, spans in their text, plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["parts_of"]

MAX_BARS = 20
MAX_NUMBERS = 8  # of a vector
TEXTS = ("translation", "summary", "text")
Json = dict[str, Any]


def parts_of(request: Mapping[str, Any], answer: Any) -> list[Json]:
    """Return the parts of an answer that have a drawing of their own, then all others as a table."""
    if not isinstance(answer, Mapping):
        return [{"kind": "table", "rows": [("", answer)]}]
    drawn: dict[str, Json] = {}
    if bars := _bars(answer.get("scores")):
        drawn["scores"] = bars
    if marked := _entities(request.get("text"), answer.get("entities")):
        drawn["entities"] = marked
    if marked := _span(request.get("context"), answer):
        drawn["answer"] = marked
    for name in TEXTS:
        if isinstance(answer.get(name), str):
            drawn[name] = {"kind": "text", "title": name, "text": answer[name]}
    if vector := _vector(answer.get("embedding")):
        drawn["embedding"] = vector
    rest = [(key, value) for key, value in answer.items() if key not in drawn]
    return [*drawn.values(), *([{"kind": "table", "rows": rest}] if rest else [])]


def _bars(scores: Any) -> Json | None:
    if not isinstance(scores, Mapping) or not all(isinstance(one, int | float) for one in scores.values()):
        return None
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    rows = [{"label": str(label), "score": float(score)} for label, score in ranked[:MAX_BARS]]
    return {"kind": "bars", "rows": rows, "more": max(0, len(ranked) - MAX_BARS)} if rows else None


def _entities(text: Any, entities: Any) -> Json | None:
    if not isinstance(text, str) or not isinstance(entities, Sequence) or isinstance(entities, str):
        return None
    spans = [
        (one["start"], one["end"], str(one.get("entity_group") or one.get("label") or ""))
        for one in entities
        if isinstance(one, Mapping) and isinstance(one.get("start"), int) and isinstance(one.get("end"), int)
    ]
    return {"kind": "marked", "title": "entities", "segments": _segments(text, spans)}


def _span(context: Any, answer: Mapping[str, Any]) -> Json | None:
    start, end = answer.get("start"), answer.get("end")
    if not isinstance(context, str) or not isinstance(start, int) or not isinstance(end, int) or end <= start:
        return None
    return {"kind": "marked", "title": "answer", "segments": _segments(context, [(start, end, "answer")])}


def _segments(text: str, spans: Iterable[tuple[int, int, str]]) -> list[Json]:
    """Cut a text at the spans, which do not overlap; those that do, or lie outside, are left out."""
    kept: list[tuple[int, int, str]] = []
    for start, end, label in sorted(spans):
        if 0 <= start < end <= len(text) and (not kept or start >= kept[-1][1]):
            kept.append((start, end, label))
    cuts = sorted({0, len(text), *(place for start, end, _ in kept for place in (start, end))})
    labels = {start: label for start, _, label in kept}
    return [{"text": text[start:end], "label": labels.get(start)} for start, end in pairwise(cuts)]


def _vector(value: Any) -> Json | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    if not all(isinstance(one, int | float) for one in value):
        return None
    return {"kind": "vector", "size": len(value), "first": [round(one, 4) for one in value[:MAX_NUMBERS]]}
