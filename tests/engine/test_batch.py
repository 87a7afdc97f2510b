"""Rows become padded arrays, and rows that a base cannot read are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import HeadKind, Row
from hub.engine.batch import BatchLimits, collate
from hub.engine.protocol import EngineRow
from hub.errors import BadRequest, TooLarge

LIMITS = BatchLimits(max_length=16, vocabulary=100, token_types=2)
PAD = 7

ROWS = st.lists(
    st.integers(1, 16).flatmap(
        lambda n: st.builds(
            Row,
            st.lists(st.integers(0, 99), min_size=n, max_size=n),
            st.none() | st.lists(st.integers(0, 1), min_size=n, max_size=n),
        )
    ),
    min_size=1,
    max_size=9,
)


def engine_rows(*rows: Row) -> list[EngineRow]:
    return [EngineRow(row, slot, HeadKind.SEQUENCE) for slot, row in enumerate(rows)]


@given(ROWS, st.booleans())
def test_unpadding_gives_the_rows_back(rows: list[Row], left: bool) -> None:
    batch = collate(engine_rows(*rows), LIMITS, PAD, left=left)
    longest = max(len(row.input_ids) for row in rows)
    assert batch.input_ids.shape == (len(rows), longest)
    assert batch.slots.tolist() == list(range(len(rows)))
    assert batch.lengths.tolist() == [len(row.input_ids) for row in rows]
    for index, row in enumerate(rows):
        own = batch.attention_mask[index] == 1
        assert batch.input_ids[index][own].tolist() == row.input_ids
        assert batch.token_type_ids[index][own].tolist() == (row.token_type_ids or [0] * len(row.input_ids))
        assert (batch.input_ids[index][~own] == PAD).all()
        assert not batch.token_type_ids[index][~own].any()
        assert np.flatnonzero(own)[-1 if left else 0] == (longest - 1 if left else 0)


def test_arrays_are_read_like_lists() -> None:
    row = Row(np.array([1, 2, 3]), np.array([0, 0, 1]))  # type: ignore[arg-type]
    assert collate(engine_rows(row), LIMITS, PAD).token_type_ids.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("row", "error", "reason"),
    [
        (Row([]), BadRequest, "no tokens"),
        (Row([1] * 17), TooLarge, "17 tokens; this base takes at most 16"),
        (Row([1, 100]), BadRequest, "token ids outside the range of this base, 0 to 99"),
        (Row([1, -1]), BadRequest, "token ids"),
        (Row([1, 2], [0, 2]), BadRequest, "token types outside the range of this base"),
        (Row([1, 2], [0]), BadRequest, "more or fewer token types than tokens"),
    ],
)
def test_rows_that_the_base_cannot_read(row: Row, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        collate(engine_rows(Row([1]), row), LIMITS, PAD)
