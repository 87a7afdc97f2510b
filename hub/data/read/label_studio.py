"""Label Studio's JSON export: each task with its annotations becomes one flat row.

Rows have the form of Label Studio's JSON-MIN export: the task's data, and a column with the result of each
labelling control (https://labelstud.io/guide/export).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.api.kinds.reader import FilteredRow, RawRow

__all__ = ["is_task", "task_row"]

_CHOSEN = {
    "choices": "choices",
    "taxonomy": "taxonomy",
    "rating": "rating",
    "number": "number",
    "textarea": "text",
}
_SPANS = ("labels", "hypertextlabels")


def is_task(value: Mapping[str, Any]) -> bool:
    """Return whether an object is a task of Label Studio's full export."""
    return isinstance(value.get("data"), Mapping) and isinstance(value.get("annotations"), list)


def task_row(line: int, value: Mapping[str, Any]) -> RawRow | FilteredRow:
    """Return the row of a task, from its ground truth or else its first annotation that was not cancelled.

    Text regions become lists of `start`, `end` and `label`; relations are ignored.
    """
    done = [one for one in value["annotations"] if isinstance(one, Mapping) and not one.get("was_cancelled")]
    if not done:
        return FilteredRow(line, "task without an annotation")
    best = next((one for one in done if one.get("ground_truth")), done[0])
    given = best.get("result")
    results = [one for one in given if isinstance(one, Mapping)] if isinstance(given, list) else []
    found: dict[str, Any] = {}
    for one in results:
        name, kind, chosen = one.get("from_name"), one.get("type"), one.get("value")
        if not isinstance(name, str) or not isinstance(kind, str) or not isinstance(chosen, Mapping):
            continue
        if kind in _SPANS:
            found.setdefault(name, []).append(_span(chosen, kind))
        elif kind in _CHOSEN:
            found[name] = _single(chosen.get(_CHOSEN[kind]))
    return RawRow(line, {**value["data"], **found})


def _span(chosen: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return a region with character offsets; of marked-up text, those into the whole text."""
    offsets = chosen.get("globalOffsets")
    where = offsets if isinstance(offsets, Mapping) else chosen
    return {"start": where.get("start"), "end": where.get("end"), "label": chosen.get(kind)}


def _single(value: Any) -> Any:
    """Return the only item of a list, as in JSON-MIN; else the value itself."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
