"""Parity of an exported model with the adapter in PEFT, and its tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.api import HeadKind
from hub.errors import ExportFailed
from hub.export.formats import Precision
from hub.store.manifest import Serving

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

__all__ = ["MIN_INT8_COSINE", "Figures", "Parity", "ParityComparison", "compare", "spread_of"]

TOLERANCE = 1e-4  # fp32: relative to the largest value, or to 1 if all values are smaller
MIN_INT8_COSINE = 0.99  # of all values
MIN_INT8_AGREEMENT = 0.95  # share of equal clear decisions
MAX_NUMBER_CHANGE = 0.1  # of a number, in standard deviations of the training rows
CLEAR_MARGIN = 1.0  # of the best score over the next, or of a multi-label score over 0; odds of e to 1


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over values and decisions, which can be added over batches."""

    max_difference: float
    products: tuple[float, float, float]  # PEFT x model, PEFT x PEFT, model x model
    decisions: int = 0
    same: int = 0
    clear: int = 0  # decisions in which PEFT's scores have a margin of CLEAR_MARGIN
    clear_same: int = 0

    def __add__(self, other: Figures) -> Figures:
        first, second, third = (
            mine + theirs for mine, theirs in zip(self.products, other.products, strict=True)
        )
        return Figures(
            max(self.max_difference, other.max_difference),
            (first, second, third),
            self.decisions + other.decisions,
            self.same + other.same,
            self.clear + other.clear,
            self.clear_same + other.clear_same,
        )

    @property
    def cosine(self) -> float:
        """The cosine similarity of all values as one vector."""
        both, first, second = self.products
        length = float(np.sqrt(first * second))
        return both / length if length else float(first == second)

    @property
    def agreement(self) -> float | None:
        """Share of equal decisions; None without decisions, as for embeddings."""
        return self.same / self.decisions if self.decisions else None

    @property
    def clear_agreement(self) -> float | None:
        """Share of equal clear decisions; None without clear decisions."""
        return self.clear_same / self.clear if self.clear else None

    def to_json(self) -> dict[str, float | None]:
        return {
            "max_difference": self.max_difference,
            "cosine": self.cosine,
            "agreement": self.agreement,
            "clear_agreement": self.clear_agreement,
        }


@dataclass(frozen=True, slots=True)
class ParityComparison:
    """The figures of one batch, `rows` padded to `tokens`."""

    rows: int
    tokens: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Parity:
    """The figures of all batches; `largest` is the largest absolute value of PEFT's outputs."""

    precision: Precision
    batches: Sequence[ParityComparison]
    largest: float

    @property
    def total(self) -> Figures:
        """The figures of all batches together."""
        return reduce(add, (batch.figures for batch in self.batches))

    @property
    def gate(self) -> dict[str, float]:
        """The limits: a maximum of `max_difference`, or minimums of the other figures."""
        if self.precision is Precision.FP32:
            return {"max_difference": TOLERANCE * max(1.0, self.largest)}
        return {"cosine": MIN_INT8_COSINE, "clear_agreement": MIN_INT8_AGREEMENT}

    def check(self) -> None:
        """Raise ExportFailed if a figure exceeds its limit."""
        total, gate = self.total, self.gate
        if self.precision is Precision.FP32:
            if not total.max_difference <= gate["max_difference"]:
                raise ExportFailed(
                    f"The exported model differs from PEFT by {total.max_difference:.2g}, and at most "
                    f"{gate['max_difference']:.2g} is allowed, so nothing was written."
                )
        elif not total.cosine >= gate["cosine"]:
            raise ExportFailed(
                f"The int8 model's outputs have a cosine of {total.cosine:.4f} with PEFT's, and at least "
                f"{gate['cosine']} is required, so nothing was written. Export without --int8."
            )
        elif total.clear and not total.clear_same >= gate["clear_agreement"] * total.clear:
            raise ExportFailed(
                f"The int8 model differs from PEFT in {total.clear - total.clear_same} of {total.clear} "
                f"clear decisions, and at least {gate['clear_agreement']:.0%} must be equal, so nothing was "
                "written. Export without --int8."
            )

    def to_json(self) -> dict[str, Any]:
        """Return all figures and their limits."""
        return {
            "compared_with": "the adapter run by PEFT in fp32",
            "precision": self.precision.value,
            **self.total.to_json(),
            "gate": self.gate,
            "batches": [
                {"rows": each.rows, "tokens": each.tokens, **each.figures.to_json()} for each in self.batches
            ],
        }


def compare(
    head: HeadKind,
    expected: Sequence[Array],
    got: Sequence[Array],
    mask: Ints,
    *,
    multi_label: bool = False,
    spread: float | None = None,
) -> ParityComparison:
    """Compare the outputs of one padded batch; `mask` is [B, T].

    There is one decision per row (SEQUENCE), per token (TOKEN, GENERATE), or per start and end (SPAN): the
    best score. With `multi_label` there is one per label: whether its score is above 0. With `spread`, the
    standard deviation of numbers, there is one per row: they differ by MAX_NUMBER_CHANGE of it at most.
    """
    pairs = zip(_vectors(head, expected, mask), _vectors(head, got, mask), strict=True)
    with np.errstate(invalid="ignore"):  # values that are not finite fail the gate
        figures = [_figures(first, second, head, multi_label, spread) for first, second in pairs]
    rows, tokens = mask.shape
    return ParityComparison(rows, tokens, reduce(add, figures))


def spread_of(serving: Serving) -> float | None:
    """Return the standard deviation of the numbers that a version learned; None if it learned others."""
    return serving.numbers.spread if serving.numbers else None


def _vectors(head: HeadKind, outputs: Sequence[Array], mask: Ints) -> list[Array]:
    """Split outputs into one vector per decision, without padding."""
    found: list[Array] = []
    for output in outputs:
        for row, kept in zip(output, mask.astype(bool), strict=True):
            if head is HeadKind.SPAN:
                found.append(row[kept])  # [T]
            elif row.ndim == 2:
                found.extend(row[kept])  # [C] each
            else:
                found.append(row)  # [C] or [H]
    return found


def _figures(first: Array, second: Array, head: HeadKind, multi_label: bool, spread: float | None) -> Figures:
    difference = float(np.abs(first - second).max())
    products = (float(first @ second), float(first @ first), float(second @ second))
    off = difference if np.isfinite(difference) else float("inf")  # NaN would be lost in max()
    if head is HeadKind.EMBEDDING:
        return Figures(off, products)
    if spread is not None:
        same, clear = np.array([difference <= MAX_NUMBER_CHANGE * spread]), np.array([True])
    elif multi_label:
        same, clear = (first > 0) == (second > 0), np.abs(first) >= CLEAR_MARGIN
    else:
        best = int(first.argmax())
        same = np.array([best == second.argmax()])
        clear = np.array([first[best] - np.delete(first, best).max(initial=-np.inf) >= CLEAR_MARGIN])
    return Figures(off, products, same.size, int(same.sum()), int(clear.sum()), int((same & clear).sum()))
