"""Figures of merit, all from 0 to 1 (Matthews: from -1), computed by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["multi_label", "single_label"]


def single_label(predicted: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """Score one label per example."""
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    names = sorted({*predicted, *right})
    return {
        "accuracy": float(accuracy_score(right, predicted)),
        "f1_macro": float(f1_score(right, predicted, labels=names, average="macro", zero_division=0.0)),
        "f1_micro": float(f1_score(right, predicted, labels=names, average="micro", zero_division=0.0)),
        "mcc": float(matthews_corrcoef(right, predicted)) if len(names) > 1 else 0.0,
    }


def multi_label(predicted: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score a set of labels per example; `accuracy` counts sets that are right as a whole."""
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    names = sorted({label for labels in (*predicted, *right) for label in labels})
    if not names:  # nothing was to be chosen and nothing was
        return {"accuracy": 1.0, "f1_macro": 1.0, "f1_micro": 1.0}
    binarizer = MultiLabelBinarizer(classes=names).fit(right)
    gold, guess = binarizer.transform(right), binarizer.transform(predicted)
    return {
        "accuracy": float(accuracy_score(gold, guess)),
        "f1_macro": float(f1_score(gold, guess, average="macro", zero_division=0.0)),
        "f1_micro": float(f1_score(gold, guess, average="micro", zero_division=0.0)),
    }
