"""Metrics of label predictions by scikit-learn, as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]

__all__ = ["multi_label_figures", "single_label_figures"]


MAX_CONFUSION_LABELS = 1000  # a report with a million cells has 3 MB


def single_label_figures(
    true: Sequence[int], predicted: Sequence[int], labels: Sequence[str], scores: Floats | None = None
) -> dict[str, Any]:
    """Return the figures of single-label predictions; `true` and `predicted` [N] are indices into `labels`.

    `scores` are probabilities [N, C], for the area under the ROC curve: one label against the rest, averaged
    over the labels that occur. With more than `MAX_CONFUSION_LABELS` labels there is no confusion matrix.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, matthews_corrcoef

    every = range(len(labels))
    figures: dict[str, Any] = {
        "accuracy": float(accuracy_score(true, predicted)),
        "mcc": float(matthews_corrcoef(true, predicted)) if len({*true, *predicted}) > 1 else 0.0,
        **_averages(true, predicted, every),
        "per_label": _per_label(true, predicted, labels),
    }
    if len(labels) <= MAX_CONFUSION_LABELS:
        matrix = confusion_matrix(true, predicted, labels=list(every))
        figures["confusion"] = {"labels": list(labels), "rows": matrix.tolist()}
    if scores is not None:
        figures["roc_auc"] = _mean_auc(np.equal.outer(np.asarray(true), np.arange(len(labels))), scores)
    return figures


def multi_label_figures(
    true: npt.NDArray[np.bool_],
    predicted: npt.NDArray[np.bool_],
    labels: Sequence[str],
    scores: Floats | None = None,
) -> dict[str, Any]:
    """Return the figures of multi-label predictions; `true` and `predicted` are [N, C]."""
    # With a column that no example has: of one column alone, scikit-learn counts the label's absence instead.
    one_more = ((0, 0), (0, 1))
    known, given = np.pad(true, one_more), np.pad(predicted, one_more)
    figures: dict[str, Any] = {
        "exact_match": float((true == predicted).all(axis=1).mean()),
        "hamming_loss": float((true != predicted).mean()),
        **_averages(known, given, range(len(labels))),
        "per_label": _per_label(known, given, labels),
    }
    if scores is not None:
        figures["roc_auc"] = _mean_auc(true, scores)
    return figures


def _averages(true: Any, predicted: Any, labels: Sequence[int]) -> dict[str, float]:
    from sklearn.metrics import precision_recall_fscore_support

    found: dict[str, float] = {}
    for average in ("micro", "macro"):
        three = precision_recall_fscore_support(
            true, predicted, labels=labels, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), three, strict=False):
            found[f"{name}_{average}"] = float(value)
    return found


def _per_label(true: Any, predicted: Any, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        true, predicted, labels=range(len(labels)), average=None, zero_division=0
    )
    return {
        label: {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for label, precision, recall, f1, support in zip(labels, *columns, strict=True)
    }


def _mean_auc(true: npt.NDArray[np.bool_], scores: Floats) -> float | None:
    """Return the mean over the labels that some but not all examples have; None if there are none."""
    from sklearn.metrics import roc_auc_score

    mixed = true.any(axis=0) & ~true.all(axis=0)
    if not mixed.any():
        return None
    return float(np.mean([roc_auc_score(true[:, c], scores[:, c]) for c in np.flatnonzero(mixed)]))
