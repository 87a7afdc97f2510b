"""Logits of rows whose labels are known, with the labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.evaluation.calibration import probabilities

if TYPE_CHECKING:
    import numpy.typing as npt

    from hub.api import Output

__all__ = ["IGNORED", "Labelled", "labelled"]

IGNORED = -100  # the label of tokens that have none, in torch and transformers


@dataclass(frozen=True, slots=True)
class Labelled:
    """Logits [M, C] and targets: label indices [M], or 0 and 1 for each label [M, C].

    M counts rows, or tokens if each is labelled; `rows` [M] has the row of each.
    """

    logits: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]
    rows: npt.NDArray[np.int64]

    @property
    def multi_label(self) -> bool:
        """Whether an example may have any number of labels."""
        return self.targets.ndim == 2

    @property
    def predicted(self) -> npt.NDArray[Any]:
        """The predicted labels, shaped like `targets`."""
        return np.asarray(self.logits > 0 if self.multi_label else self.logits.argmax(axis=1))

    def confidence(self, temperature: float = 1.0) -> npt.NDArray[np.float64]:
        """Return the probability of each decision at a temperature: [M], or [M * C] if multi-label."""
        found = probabilities(self.logits / temperature, multi_label=self.multi_label)
        return np.maximum(found, 1 - found).ravel() if self.multi_label else np.asarray(found.max(axis=1))

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Which decisions are correct: [M], or [M * C] if multi-label."""
        return np.asarray(self.predicted == self.targets).ravel()


def labelled(outputs: Sequence[Output], targets: Iterable[Any]) -> Labelled | None:
    """Pair the outputs of rows with their targets: an int, C floats or [T] ints each.

    Rows and tokens without a target are skipped; the result is None if none is left.
    """
    found = list(_pairs(outputs, targets))
    if not found:
        return None
    logits, expected, rows = zip(*found, strict=True)
    return Labelled(np.stack(logits), np.asarray(expected), np.asarray(rows))


def _pairs(outputs: Sequence[Output], targets: Iterable[Any]) -> Iterator[tuple[Any, Any, int]]:
    for row, (output, target) in enumerate(zip(outputs, targets, strict=True)):
        if target is None or output.values is None:
            continue
        if output.values.ndim == 1:
            yield output.values, target, row
        else:
            yield from ((output.values[t], label, row) for t, label in enumerate(target) if label != IGNORED)
