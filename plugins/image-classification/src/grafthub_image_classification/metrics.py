"""Metrics by scikit-learn, from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["single_label"]


def single_label(predicted: Sequence[str], true: Sequence[str]) -> dict[str, float]:
    """Return the metrics of one label per image."""
    from sklearn.metrics import accuracy_score, f1_score

    names = sorted({*predicted, *true})
    return {
        "accuracy": float(accuracy_score(true, predicted)),
        "f1_macro": float(f1_score(true, predicted, labels=names, average="macro", zero_division=0.0)),
    }
