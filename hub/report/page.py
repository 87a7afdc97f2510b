"""Renders the training report as one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.report.html import render
from hub.report.plots import curve, reliability

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["page"]

MAX_CONFUSION_LABELS = 30  # in a full matrix
MAX_PAIRS = 30
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix [C, C], true by predicted label, and the most frequent confusions."""

    labels: Sequence[str]
    rows: Sequence[Sequence[int]]
    pairs: Sequence[tuple[str, str, int]]

    @property
    def is_whole(self) -> bool:
        return len(self.labels) <= MAX_CONFUSION_LABELS

    def share(self, row: int, column: int) -> float:
        """Share of the rows with label `row` that were predicted as `column`."""
        total = sum(self.rows[row])
        return self.rows[row][column] / total if total else 0.0


def page(report: Json) -> str:
    """Return the page of a report; sections without values are omitted."""
    evaluation = report["evaluation"]
    return render(
        "report.html",
        report=report,
        evaluation=evaluation,
        plots=_plots(report),
        bars={name: _bar(value, evaluation["intervals"].get(name)) for name, value in _metrics(evaluation)},
        confusion=_confusion(evaluation["labels"].get("confusion")),
        slices=_by_column(evaluation["slices"]),
        mistakes=[_mistake(one) for one in evaluation["mistakes"]],
        data_report=_data_report(report["data"]),
        recipe=_yaml(report["recipe"]),
        seconds=_seconds,
        text=_text,
    )


def _metrics(evaluation: Json) -> list[tuple[str, float]]:
    return list(evaluation["metrics"].items())


def _plots(report: Json) -> dict[str, Markup]:
    curves, metric = report["curves"], report["evaluation"]["metric"]
    best, found = report["training"]["best_step"], {}
    if len(curves["loss"]) > 1:
        found["loss"] = curve(curves["loss"], "loss")
    if len(validated := curves["metrics"].get(metric, [])) > 1:
        found["metric"] = curve(validated, "metric", best)
    if len(curves["learning_rate"]) > 1:
        found["rate"] = curve(curves["learning_rate"], "learning rate")
    calibration = report["evaluation"]["calibration"]
    if calibration and calibration["before"]:
        if calibration["temperature"] != 1:
            found["before"] = reliability(calibration["before"], "before")
        found["after"] = reliability(calibration["after"], "after")
    return found


def _bar(value: float, interval: Json | None) -> dict[str, float] | None:
    """Return interval start, interval width and value in percent of a scale from 0 to 1, or to 100."""
    low, high = (interval["low"], interval["high"]) if interval else (value, value)
    scale = next((limit for limit in (1.0, 100.0) if low >= 0 and max(high, value) <= limit), None)
    if scale is None:
        return None
    return {"left": 100 * low / scale, "width": 100 * (high - low) / scale, "at": 100 * value / scale}


def _confusion(found: Json | None) -> Confusion | None:
    if not found:
        return None
    labels, rows = found["labels"], found["rows"]
    pairs = sorted(
        (
            (-count, labels[true], labels[predicted])
            for true, counts in enumerate(rows)
            for predicted, count in enumerate(counts)
            if count and true != predicted
        ),
    )
    return Confusion(
        labels, rows, [(true, predicted, -count) for count, true, predicted in pairs[:MAX_PAIRS]]
    )


def _by_column(slices: Sequence[Json]) -> dict[str, list[Json]]:
    columns: dict[str, list[Json]] = {}
    for one in slices:
        columns.setdefault(one["column"], []).append(one)
    return columns


def _mistake(one: Json) -> dict[str, Any]:
    """Return the displayed parts of a wrong answer: the request, the expected and the actual answer."""
    texts = one["texts"] or {}
    labelled = bool(one["expected"] or one["answered"])
    asked = texts.get("request", {})
    expected, answered = {"": one["expected"] or "none"}, {"": one["answered"] or "none"}
    if not labelled:
        expected = {
            name: value for name, value in texts.get("expected", {}).items() if asked.get(name) != value
        }
        answered = texts.get("answer", {})
    parts = {"asked": asked, "expected": expected, "answered": answered}
    return {
        "where": f"{one['source']}:{one['line']}" if one["source"] else f"row {one['line']}",
        "score": one["score"],
        "labelled": labelled,
        **{part: {name: _text(value) for name, value in fields.items()} for part, fields in parts.items()},
    }


def _data_report(data: Json) -> dict[str, int]:
    """Return the counts of the data report that are not 0, by title, in the order of processing."""
    report = data["data_report"]
    near = "kept" if report.get("near") == "report" else "removed"
    counts = {
        "read": report.get("read"),
        "invalid": report.get("invalid"),
        **{f"filtered: {reason}": count for reason, count in report.get("filtered", {}).items()},
        **{f"changed: {reason}": count for reason, count in report.get("changed", {}).items()},
        "duplicates, removed": report.get("duplicates"),
        f"near duplicates, {near}": report.get("near_duplicates"),
        "same text with different labels": report.get("conflicts"),
        "rare labels": report.get("rare"),
        "held-out rows that are also training rows, removed": report.get("leaked"),
        f"held-out rows that nearly equal a training row, {near}": report.get("near_leaked"),
    }
    return {title: count for title, count in counts.items() if count}


def _yaml(recipe: Json) -> str:
    import yaml

    text: str = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=100)
    return text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value, ensure_ascii=False)


def _seconds(value: float) -> str:
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{value:.1f} s"
