"""The figures of a comparison, and what they have to be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hub.api import HeadKind
from hub.errors import ExportFailed
from hub.export.formats import Precision
from hub.export.parity import Parity, compare

MASK = np.array([[1, 1, 0], [1, 1, 1]])
TOKENS = np.arange(12, dtype=np.float32).reshape(2, 3, 2)


def sequence(first, second, **settings):
    """Compare two arrays [B, C] of sequence scores."""
    mask = np.ones((len(first), 4), np.int64)
    arrays = (np.array(values, np.float32) for values in (first, second))
    return compare(HeadKind.SEQUENCE, *([array] for array in arrays), mask, **settings)


def parity(*comparisons, precision=Precision.FP32, largest=1.0):
    return Parity(precision, comparisons, largest)


def int8(*comparisons):
    return parity(*comparisons, precision=Precision.INT8)


def test_padding_is_not_compared() -> None:
    other = TOKENS.copy()
    other[0, 2] = 99.0
    found = compare(HeadKind.TOKEN, [TOKENS], [other], MASK)
    figures = found.figures
    assert (found.rows, found.tokens, figures.decisions) == (2, 3, 5)
    assert (figures.max_difference, figures.agreement) == (0.0, 1.0)
    assert figures.cosine == pytest.approx(1.0)


def test_a_span_decides_a_start_and_an_end_among_the_tokens_of_each_row() -> None:
    start = np.array([[0.0, 1.0, 9.0], [0.0, 1.0, 9.0]], np.float32)  # 9 is padding in the first row
    end = np.array([[5.0, 1.0, 0.0], [5.0, 1.0, 0.0]], np.float32)
    moved = np.array([[5.0, 1.0, 0.0], [0.0, 7.0, 0.0]], np.float32)
    figures = compare(HeadKind.SPAN, [start, end], [start, moved], MASK).figures
    assert (figures.decisions, figures.same, figures.max_difference) == (4, 3, 6.0)


def test_several_labels_are_a_decision_each() -> None:
    pair = [[3.0, 0.2, -1.0]], [[3.0, -0.1, -1.0]]
    assert sequence(*pair).figures.agreement == 1.0
    figures = sequence(*pair, multi_label=True).figures
    assert (figures.decisions, figures.same, figures.clear, figures.clear_same) == (3, 2, 2, 2)


def test_only_a_lead_over_all_other_scores_is_clear() -> None:
    figures = sequence([[2.0, 0.9, 0.0], [2.0, 1.1, 0.0]], [[0.0, 2.0, 0.0]] * 2).figures
    assert (figures.decisions, figures.clear, figures.clear_same) == (2, 1, 0)


def test_a_single_score_is_always_decided_the_same() -> None:
    assert sequence([[2.0]], [[1.0]]).figures.clear_agreement == 1.0


def test_an_embedding_decides_nothing_and_is_judged_by_its_cosine() -> None:
    vector, mask = np.array([[1.0, 0.0]], np.float32), np.ones((1, 4), np.int64)
    near = compare(HeadKind.EMBEDDING, [vector], [vector + np.float32(0.01)], mask)
    assert near.figures.agreement is None
    int8(near).check()
    far = compare(HeadKind.EMBEDDING, [vector], [vector + np.float32(0.4)], mask)
    with pytest.raises(ExportFailed, match=r"cosine of 0\.9\d+ with PEFT's, and at least 0\.99 is required"):
        int8(far).check()


@pytest.mark.parametrize("off", [1e-3, np.nan, np.inf])
def test_a_graph_that_is_off_fails_in_fp32(off) -> None:
    good = compare(HeadKind.TOKEN, [TOKENS], [TOKENS], MASK)
    bad = compare(HeadKind.TOKEN, [TOKENS], [TOKENS + np.float32(off)], MASK)
    with pytest.raises(ExportFailed, match=r"at most 0\.0001 is allowed, so nothing was written"):
        parity(good, bad).check()
    parity(good).check()


def test_a_graph_that_is_not_finite_fails_in_int8() -> None:
    with pytest.raises(ExportFailed, match="cosine of nan"):
        int8(sequence([[1.0, 2.0]], [[np.nan, 2.0]])).check()


def test_the_allowance_grows_with_the_scores() -> None:
    off = compare(HeadKind.TOKEN, [TOKENS], [TOKENS + np.float32(1e-3)], MASK)
    parity(off, largest=11.0).check()


def test_int8_may_decide_what_is_a_toss_up_otherwise_but_not_what_is_clear() -> None:
    clear, open_ = [[9.0, 0.0]] * 18, [[9.0, 8.9]] * 2
    int8(sequence([*clear, *open_], [*clear, [8.9, 9.0], [8.9, 9.0]])).check()
    flipped = sequence([*clear, [9.0, 7.9], [9.0, 7.9]], [*clear, [8.4, 8.5], [8.4, 8.5]])
    assert flipped.figures.cosine > 0.99
    with pytest.raises(ExportFailed, match="differs from PEFT in 2 of 20 clear decisions"):
        int8(flipped).check()


def test_the_report_has_the_figures_of_every_batch_and_the_gate() -> None:
    found = compare(HeadKind.TOKEN, [TOKENS], [TOKENS], MASK)
    report = json.loads(json.dumps(parity(found, found, largest=11.0).to_json()))
    assert report["gate"] == {"max_difference": pytest.approx(1.1e-3)}
    assert [(each["rows"], each["tokens"]) for each in report["batches"]] == [(2, 3), (2, 3)]
    assert report["agreement"] == 1.0
    assert int8(found).to_json()["gate"] == {"cosine": 0.99, "clear_agreement": 0.95}
