"""Parity of an exported model with the adapter run by PEFT, and its tolerances."""

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

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

__all__ = ["Figures", "Parity", "ParityComparison", "compare"]

TOLERANCE = 1e-4  # fp32: of the largest value, or of 1 where all are smaller
INT8_COSINE = 0.99  # int8: least cosine of all values
INT8_AGREEMENT = 0.95  # int8: least share of clear decisions that are the same
CLEAR = 1.0  # lead of the best score over the next, or of a label's own over 0; odds of e to 1


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over values and decisions, which add up over batches."""

    max_difference: float
    products: tuple[float, float, float]  # PEFT x model, PEFT x PEFT, model x model
    decisions: int = 0
    same: int = 0
    clear: int = 0  # decisions where PEFT's scores leave little doubt
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
        """The cosine of all values, taken as one vector."""
        both, first, second = self.products
        length = float(np.sqrt(first * second))
        return both / length if length else float(first == second)

    @property
    def agreement(self) -> float | None:
        """Share of decisions that are the same; None where none are made, as for embeddings."""
        return self.same / self.decisions if self.decisions else None

    @property
    def clear_agreement(self) -> float | None:
        """Share of clear decisions that are the same; None where there are none."""
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
    """The figures of all batches; `largest` is the largest value that PEFT answered."""

    precision: Precision
    batches: Sequence[ParityComparison]
    largest: float

    @property
    def total(self) -> Figures:
        """The figures of all batches together."""
        return reduce(add, (batch.figures for batch in self.batches))

    @property
    def gate(self) -> dict[str, float]:
        """What the figures have to be: `max_difference` at most, or the others at least."""
        if self.precision is Precision.FP32:
            return {"max_difference": TOLERANCE * max(1.0, self.largest)}
        return {"cosine": INT8_COSINE, "clear_agreement": INT8_AGREEMENT}

    def check(self) -> None:
        """Raise ExportFailed, naming the figure, unless the model is near enough to PEFT."""
        total, gate = self.total, self.gate
        if self.precision is Precision.FP32:
            if not total.max_difference <= gate["max_difference"]:
                raise ExportFailed(
                    f"The exported model differs from PEFT by {total.max_difference:.2g} and at most "
                    f"{gate['max_difference']:.2g} is allowed, so nothing was written."
                )
        elif not total.cosine >= gate["cosine"]:
            raise ExportFailed(
                f"In int8 the model's values have a cosine of {total.cosine:.4f} to PEFT's and at least "
                f"{gate['cosine']} is asked, so nothing was written. Export it without --int8."
            )
        elif total.clear and not total.clear_same >= gate["clear_agreement"] * total.clear:
            raise ExportFailed(
                f"In int8 the model decides {total.clear - total.clear_same} of {total.clear} clear cases "
                f"otherwise than PEFT and at least {gate['clear_agreement']:.0%} must be the same, so "
                "nothing was written. Export it without --int8."
            )

    def to_json(self) -> dict[str, Any]:
        """Return all figures and what they had to be."""
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
) -> ParityComparison:
    """Compare the outputs of one padded batch; `mask` is [B, T].

    One decision is made on a row (SEQUENCE), on a token (TOKEN, GENERATE), or on a row's start and on
    its end (SPAN): the best score. `multi_label` makes one on each label: whether it is above 0.
    """
    pairs = zip(_vectors(head, expected, mask), _vectors(head, got, mask), strict=True)
    with np.errstate(invalid="ignore"):  # what is not finite fails its gate
        figures = [_figures(first, second, head, multi_label) for first, second in pairs]
    rows, tokens = mask.shape
    return ParityComparison(rows, tokens, reduce(add, figures))


def _vectors(head: HeadKind, outputs: Sequence[Array], mask: Ints) -> list[Array]:
    """Cut outputs into the vectors that are decided on, without padding."""
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


def _figures(first: Array, second: Array, head: HeadKind, multi_label: bool) -> Figures:
    difference = float(np.abs(first - second).max())
    products = (float(first @ second), float(first @ first), float(second @ second))
    off = difference if np.isfinite(difference) else float("inf")  # NaN would be lost in max()
    if head is HeadKind.EMBEDDING:
        return Figures(off, products)
    if multi_label:
        same, clear = (first > 0) == (second > 0), np.abs(first) >= CLEAR
    else:
        best = int(first.argmax())
        same = np.array([best == second.argmax()])
        clear = np.array([first[best] - np.delete(first, best).max(initial=-np.inf) >= CLEAR])
    return Figures(off, products, same.size, int(same.sum()), int(clear.sum()), int((same & clear).sum()))
