"""Windows cover long texts, probabilities sum to one, and characters that are seen as one stay together."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special

from hub.task_tools import is_continuation, softmax, window_bounds


@given(
    size=st.integers(0, 500), room=st.integers(1, 60), overlap=st.integers(0, 60), most=st.integers(1, 1000)
)
def test_every_token_is_in_a_window_and_neighbours_share_the_overlap(
    size: int, room: int, overlap: int, most: int
) -> None:
    assume(overlap < room)
    bounds = window_bounds(size, room, overlap, most)
    if bounds is None:
        return
    covered = {token for start, stop in bounds for token in range(start, stop)}
    assert covered == set(range(size))
    assert all(stop - start <= room for start, stop in bounds)
    assert all(before[1] - after[0] == overlap for before, after in pairwise(bounds))
    assert len(bounds) <= most


@given(size=st.integers(1, 500), room=st.integers(1, 60))
def test_the_limit_on_windows_is_exact(size: int, room: int) -> None:
    needed = len(window_bounds(size, room, room // 2, 10_000))
    assert window_bounds(size, room, room // 2, needed) is not None
    assert window_bounds(size, room, room // 2, needed - 1) is None


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=9), st.floats(0.1, 10))
def test_softmax_is_scipys(values: list[float], temperature: float) -> None:
    scores = np.array([values, values[::-1]])
    np.testing.assert_allclose(softmax(scores, temperature), special.softmax(scores / temperature, axis=1))
    assert softmax(scores.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301", True),
        ("\u2764\ufe0f", True),
        ("a\u200d", True),
        ("\u200da", True),
        ("ab", False),
        ("a ", False),
    ],
)
def test_marks_and_joined_characters_are_continuations(text: str, expected: bool) -> None:
    assert is_continuation(text, 1) is expected
