"""Figures of label predictions, by scikit-learn; all are JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]

__all__ = ["multi_label_figures", "single_label_figures"]


MAX_CONFUSION = 1000  # labels; the report of a million cells has 3 MB, and nobody reads them


def single_label_figures(
    truth: Sequence[int], predicted: Sequence[int], labels: Sequence[str], scores: Floats | None = None
) -> dict[str, Any]:
    """Return the figures of one label per example; both sequences hold indices into `labels`.

    `scores` are probabilities [N, C]; with them the area under the ROC curve is given, one label against
    the rest, averaged over the labels that occur. More than `MAX_CONFUSION` labels have no confusion matrix.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, matthews_corrcoef

    every = range(len(labels))
    figures: dict[str, Any] = {
        "accuracy": float(accuracy_score(truth, predicted)),
        "mcc": float(matthews_corrcoef(truth, predicted)) if len({*truth, *predicted}) > 1 else 0.0,
        **_averages(truth, predicted, every),
        "per_label": _per_label(truth, predicted, labels),
    }
    if len(labels) <= MAX_CONFUSION:
        matrix = confusion_matrix(truth, predicted, labels=list(every))
        figures["confusion"] = {"labels": list(labels), "rows": matrix.tolist()}
    if scores is not None:
        figures["roc_auc"] = _mean_auc(np.equal.outer(np.asarray(truth), np.arange(len(labels))), scores)
    return figures


def multi_label_figures(
    truth: npt.NDArray[np.bool_],
    predicted: npt.NDArray[np.bool_],
    labels: Sequence[str],
    scores: Floats | None = None,
) -> dict[str, Any]:
    """Return the figures of any number of labels per example; truth and predicted are [N, C]."""
    from sklearn.metrics import accuracy_score, hamming_loss

    figures: dict[str, Any] = {
        "exact_match": float(accuracy_score(truth, predicted)),
        "hamming_loss": float(hamming_loss(truth, predicted)),
        **_averages(truth, predicted, None),
        "per_label": _per_label(truth, predicted, labels),
    }
    if scores is not None:
        figures["roc_auc"] = _mean_auc(truth, scores)
    return figures


def _averages(truth: Any, predicted: Any, labels: Sequence[int] | None) -> dict[str, float]:
    from sklearn.metrics import precision_recall_fscore_support

    found: dict[str, float] = {}
    for average in ("micro", "macro"):
        three = precision_recall_fscore_support(
            truth, predicted, labels=labels, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), three, strict=False):
            found[f"{name}_{average}"] = float(value)
    return found


def _per_label(truth: Any, predicted: Any, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        truth, predicted, labels=range(len(labels)), average=None, zero_division=0
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


def _mean_auc(truth: npt.NDArray[np.bool_], scores: Floats) -> float | None:
    """Average over the labels that some examples have and others have not; None if there is no such label."""
    from sklearn.metrics import roc_auc_score

    mixed = truth.any(axis=0) & ~truth.all(axis=0)
    if not mixed.any():
        return None
    return float(np.mean([roc_auc_score(truth[:, c], scores[:, c]) for c in np.flatnonzero(mixed)]))
