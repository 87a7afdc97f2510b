"""What a head said of rows whose labels are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.evaluation.calibration import probabilities

if TYPE_CHECKING:
    import numpy.typing as npt

    from hub.api import Output

__all__ = ["Labelled", "labelled"]

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Labelled:
    """Logits [M, C] and what is right: label indices [M], or 0 and 1 for each label [M, C].

    M counts rows, or tokens where each is labelled; `rows` [M] are the rows that they are of.
    """

    logits: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]
    rows: npt.NDArray[np.int64]

    @property
    def several(self) -> bool:
        """Whether any number of labels may be right at once."""
        return self.targets.ndim == 2

    @property
    def given(self) -> npt.NDArray[Any]:
        """The labels that the logits choose, in the form of `targets`."""
        return np.asarray(self.logits > 0 if self.several else self.logits.argmax(axis=1))

    def sureness(self, temperature: float = 1.0) -> npt.NDArray[np.float64]:
        """Return the probability of each decision at a temperature: [M], or [M * C] with several labels."""
        found = probabilities(self.logits / temperature, several=self.several)
        return np.maximum(found, 1 - found).ravel() if self.several else np.asarray(found.max(axis=1))

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which of those decisions are right."""
        return np.asarray(self.given == self.targets).ravel()


def labelled(outputs: Sequence[Output], targets: Iterable[Any]) -> Labelled | None:
    """Put the outputs of rows together with their targets: an int, C floats or [T] ints each.

    Rows and tokens without a target are left out; None if none is left.
    """
    found = list(_pairs(outputs, targets))
    if not found:
        return None
    logits, right, rows = zip(*found, strict=True)
    return Labelled(np.stack(logits), np.asarray(right), np.asarray(rows))


def _pairs(outputs: Sequence[Output], targets: Iterable[Any]) -> Iterator[tuple[Any, Any, int]]:
    for row, (output, target) in enumerate(zip(outputs, targets, strict=True)):
        if target is None or output.values is None:
            continue
        if output.values.ndim == 1:
            yield output.values, target, row
        else:
            yield from ((output.values[t], label, row) for t, label in enumerate(target) if label != IGNORED)
