"""What a guard takes, and what it says of what it does not take."""

from __future__ import annotations

import pytest

from hub.errors import BadRequest
from hub.store.guard import Guard, read_guard


def test_values_of_a_command_line_become_a_guard() -> None:
    values = {"error_rate": 0.01, "p99_ms": 80, "requests": "500", "promote": "no", "minutes": ".5"}
    guard = read_guard(values)
    assert guard == Guard(error_rate=0.01, p99_ms=80, requests=500, promote=False, minutes=0.5)
    assert guard.criteria == {"error_rate": 0.01, "p99_ms": 80}


def test_what_the_catalog_holds_of_a_guard_is_the_guard_again() -> None:
    guard = read_guard({"agreement": 0.95, "accuracy": 0})
    assert read_guard(guard.model_dump(mode="json")) == guard
    assert read_guard(guard.model_dump(mode="json", exclude_defaults=True)) == guard


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"agrement": ".9"}, "no 'agrement'.*error_rate, p99_ms, agreement, accuracy, requests, labels"),
        ({"agreement": "high"}, "guard agreement: .*valid number.*match those of the stable version"),
        ({"agreement": "95"}, "guard agreement: .*less than or equal to 1"),
        ({"error_rate": "-1"}, "guard error_rate"),
        ({"agreement": "nan"}, "guard agreement"),
        ({"p99_ms": "inf"}, "guard p99_ms"),
        ({"agreement": ".9", "requests": "0"}, "guard requests"),
        ({"agreement": ".9", "promote": "perhaps"}, "guard promote"),
        ({"requests": "50"}, "needs a limit to watch: set one of error_rate"),
        ({}, "needs a limit to watch"),
    ],
)
def test_a_wrong_guard_is_refused_with_what_would_be_right(values: dict[str, str], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        read_guard(values)
