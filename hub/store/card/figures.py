"""The evaluation section of a model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.store.card.markdown import code, plain, table
from hub.store.records import Version

__all__ = ["evaluation_section"]

MAX_LABEL_ROWS = 60
Report = Mapping[str, Any]


def evaluation_section(version: Version, report: Report | None) -> list[str]:
    """Return the parts of the evaluation section."""
    manifest, found = version.manifest, (report or {}).get("evaluation") or {}
    if not manifest.metrics:
        return ["## Evaluation", "None were recorded."]
    parts = ["## Evaluation", "### Testing Data, Factors & Metrics"]
    if manifest.data:
        parts += [
            "#### Testing Data",
            f"{manifest.data.eval_rows:,} rows of {code(manifest.data.source)} that played no part in "
            "training or in choosing the checkpoint.",
        ]
    columns = list(dict.fromkeys(plain(one["column"]) for one in found.get("slices", ())))
    if columns:
        parts += ["#### Factors", f"Measured apart by {', '.join(columns)}."]
    lower = ", of which lower is better" if manifest.metric_goal == "min" else ""
    judged = f"; it is judged by {plain(manifest.metric)}{lower}" if manifest.metric else ""
    parts += ["#### Metrics", f"Those of the task {code(manifest.serving.task)}{judged}.", "### Results"]
    rows = [
        (plain(name), f"{value:.4f}", _between(version, name)) for name, value in manifest.metrics.items()
    ]
    has_intervals = any(row[2] for row in rows)
    headers = ("metric", "value", "95 % interval") if has_intervals else ("metric", "value")
    parts.append(table(headers, [row[: len(headers)] for row in rows]))
    parts += [f"{plain(name)}: {code(value)}" for name, value in manifest.signatures.items()]
    return [*parts, *_folds(version), *_labels(found.get("labels") or {}), *_gate((report or {}).get("gate"))]


def _between(version: Version, name: str) -> str:
    found = version.manifest.intervals.get(name)
    return f"{found[0]:.4f} to {found[1]:.4f}" if found else ""


def _folds(version: Version) -> list[str]:
    rows = [
        (plain(name), f"{spread.mean:.4f}", f"{spread.std:.4f}", str(len(spread.folds)))
        for name, spread in version.manifest.metrics_cv.items()
    ]
    return ["Cross-validation:", table(("metric", "mean", "spread", "folds"), rows)] if rows else []


def _labels(figures: Mapping[str, Any]) -> list[str]:
    rows = [
        (code(label), *(f"{of[name]:.4f}" for name in ("precision", "recall", "f1")), f"{of['support']:,}")
        for label, of in list(figures.get("per_label", {}).items())[:MAX_LABEL_ROWS]
    ]
    rows = [(row[0].replace("|", "\\|"), *row[1:]) for row in rows]
    return ["By label:", table(("label", "precision", "recall", "F1", "rows"), rows)] if rows else []


def _gate(gate: Mapping[str, Any] | None) -> list[str]:
    if not gate:
        return []
    outcome = "Passed" if gate["passed"] else "Did not pass"
    return ["#### Gate", f"{outcome} the gate of {plain(gate['deployment'])}: {plain(gate['reason'])}."]
