"""Metrics by scikit-learn, from 0 to 1 (the Matthews coefficient from -1)."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["multi_label", "single_label"]


def single_label(predicted: Sequence[str], true: Sequence[str]) -> dict[str, float]:
    """Return the metrics of one label per example."""
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    names = sorted({*predicted, *true})
    return {
        "accuracy": float(accuracy_score(true, predicted)),
        "f1_macro": float(f1_score(true, predicted, labels=names, average="macro", zero_division=0.0)),
        "f1_micro": float(f1_score(true, predicted, labels=names, average="micro", zero_division=0.0)),
        "mcc": float(matthews_corrcoef(true, predicted)) if len(names) > 1 else 0.0,
    }


def multi_label(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the metrics of a set of labels per example; `accuracy` counts sets that are equal."""
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    names = sorted({label for labels in (*predicted, *true) for label in labels})
    if not names:  # no true and no predicted label
        return {"accuracy": 1.0, "f1_macro": 1.0, "f1_micro": 1.0}
    # With a column that no example has: of one column alone, scikit-learn also counts the label's absence.
    binarizer = MultiLabelBinarizer(classes=[*names, None]).fit(true)
    y_true, y_pred = binarizer.transform(true), binarizer.transform(predicted)
    places = range(len(names))
    return {
        "accuracy": float(accuracy_score(y_true, y_pred)),
        "f1_macro": float(f1_score(y_true, y_pred, labels=places, average="macro", zero_division=0.0)),
        "f1_micro": float(f1_score(y_true, y_pred, labels=places, average="micro", zero_division=0.0)),
    }
