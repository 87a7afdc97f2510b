"""Prints evaluations and comparisons as tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hub.cli.screen.output import escape, say, table

if TYPE_CHECKING:
    from hub.evaluation.comparison import Comparison
    from hub.evaluation.evaluation import Evaluation
    from hub.evaluation.intervals import Interval
    from hub.store.manifest import Manifest, Spread
    from hub.training.ablation import Ablation

__all__ = [
    "measured_facts",
    "print_ablation",
    "print_calibration",
    "print_comparison",
    "print_folds",
    "print_labels",
    "print_metrics",
    "print_slices",
    "print_underperforming",
]


def measured_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the evaluation figures of a manifest by name; "" where it has none."""
    spreads, found = manifest.metrics_cv, manifest.calibration
    calibration = ""
    if found is not None:
        done = f"no temperature: {found.reason}" if found.reason else f"temperature {found.temperature:.3f}"
        calibration = f"error {found.ece_after:.4f}, {done}"
    return [
        ("metrics", ", ".join(_figure(manifest, name) for name in manifest.metrics)),
        ("signatures", ", ".join(f"{name} {of}" for name, of in manifest.signatures.items())),
        (
            "cross-validation",
            ", ".join(f"{name} {of.mean:.4f} ± {of.std:.4f}" for name, of in spreads.items()),
        ),
        ("calibration", calibration),
        (
            "underperforming slices",
            ", ".join(
                f"{one.column} {one.value} ({one.metric:.4f})" for one in manifest.underperforming_slices
            ),
        ),
    ]


def print_metrics(evaluation: Evaluation, header: str) -> None:
    """Print every metric with its interval, the baseline, and its signature."""
    baseline = evaluation.baseline
    rows = [
        (
            name,
            f"{value:.4f}",
            _between(evaluation.intervals.get(name)),
            f"{baseline[name]:.4f}" if name in baseline else "",
        )
        for name, value in evaluation.metrics.items()
    ]
    table((header, "METRIC", "95 %", evaluation.baseline_name.upper() if baseline else ""), rows)
    for name, signature in evaluation.signatures.items():
        say(escape(f"{name}: {signature}"))


def print_labels(figures: Mapping[str, Any]) -> None:
    """Print precision, recall and F1 of each label, and further metrics."""
    if not figures:
        return
    rows = [
        (label, *(f"{of[name]:.4f}" for name in ("precision", "recall", "f1")), of["support"])
        for label, of in figures["per_label"].items()
    ]
    table(("LABEL", "PRECISION", "RECALL", "F1", "ROWS"), rows)
    also = [
        f"{title} {figures[name]:.4f}"
        for name, title in (("mcc", "Matthews"), ("roc_auc", "ROC-AUC"), ("hamming_loss", "Hamming loss"))
        if figures.get(name) is not None
    ]
    say(f"{', '.join(also)}.")


def print_slices(evaluation: Evaluation) -> None:
    """Print the metric of each slice."""
    if not evaluation.slices:
        return
    rows = [
        (
            one.column,
            one.value,
            f"{one.rows:,}",
            f"{one.metric:.4f}",
            _between(one.interval),
            f"{one.others:.4f}",
            "worse" if one.underperforms else "",
        )
        for one in evaluation.slices
    ]
    table(("SLICE", "VALUE", "ROWS", evaluation.slice_metric.upper(), "95 %", "OTHERS", ""), rows)


def print_underperforming(evaluation: Evaluation) -> None:
    """Print one line for each underperforming slice."""
    for one in evaluation.underperforming_slices:
        where = escape(f"{one.column} {one.value}")
        say(
            f"[bold yellow]Underperforming slice[/] {where} ({one.rows:,} rows): {evaluation.slice_metric} "
            f"{one.metric:.4f} against {one.others:.4f} elsewhere."
        )


def print_calibration(evaluation: Evaluation) -> None:
    """Print the calibration error and the temperature."""
    found = evaluation.calibration
    if found is None:
        return
    if found.temperature != 1:
        say(
            f"Calibrated: temperature {found.temperature:.3f} changes the calibration error from "
            f"{found.ece_before:.4f} to {found.ece_after:.4f}."
        )
        return
    reason = f" No temperature: {escape(found.reason)}." if found.reason else ""
    say(f"Calibration error {found.ece_after:.4f}.{reason}")


def print_folds(spreads: Mapping[str, Spread]) -> None:
    """Print mean and spread over the folds of cross-validation."""
    for name, spread in spreads.items():
        say(f"Over {len(spread.folds)} folds: {escape(name)} {spread.mean:.4f}, spread {spread.std:.4f}.")


def print_ablation(found: Ablation) -> None:
    """Print the effect of augmentation on the metric."""
    p = "< 0.001" if found.p < 0.001 else f"= {found.p:.3f}"
    say(
        f"  Augmentation: {found.metric} {found.with_copies:.4f} with copies, {found.without_copies:.4f} "
        f"without; difference {found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f}), p {p}."
    )


def print_comparison(found: Comparison, first: str, second: str) -> None:
    """Print which of two versions is better on the same rows, and whether chance explains it."""
    paired = found.paired
    lower = " Lower is better." if found.goal == "min" else ""
    say(
        f"{found.metric} {found.first:.4f} of {first} against {found.second:.4f} of {second} on the same "
        f"{found.rows:,} rows: a difference of {paired.difference:+.4f} "
        f"({paired.low:+.4f} to {paired.high:+.4f}).{lower}"
    )
    if found.is_better or found.is_worse:
        way = "[bold green]better[/]" if found.is_better else "[bold yellow]worse[/]"
        say(f"{first} is {way} by more than chance explains ({found.chance()}).")
    else:
        say(f"Chance explains that difference ({found.chance()}).")


def _figure(manifest: Manifest, name: str) -> str:
    found = manifest.intervals.get(name)
    between = f" ({found[0]:.4f} to {found[1]:.4f})" if found else ""
    return f"{name} {manifest.metrics[name]:.4f}{between}"


def _between(found: Interval | None) -> str:
    return f"{found.low:.4f} to {found.high:.4f}" if found else ""
