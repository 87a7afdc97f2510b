"""What is counted of callers, and for which day."""

from __future__ import annotations

import pytest

from hub.errors import RateLimited
from hub.serving.accounts import account as module
from hub.serving.accounts.account import Accounts
from hub.store.catalog.keys import KeyLimits, KeyUsage

Days = list[str]


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> Days:
    """The date, in a list of one."""
    days = ["2026-12-01"]
    monkeypatch.setattr(module, "_date", lambda: days[0])
    return days


def test_counts_are_of_the_day_on_which_they_were_made(today: Days) -> None:
    accounts = Accounts()
    caller = accounts.of("a", KeyLimits())
    caller.begin()
    caller.charge(2, 30)
    today[0] = "2026-12-02"
    caller.generated(4)
    caller.end(failed=True)
    assert accounts.take() == {
        ("a", "2026-12-01"): KeyUsage(requests=1, rows=2, tokens_in=30),
        ("a", "2026-12-02"): KeyUsage(errors=1, tokens_out=4),
    }
    caller.begin()
    accounts.take()
    caller.end(failed=False)
    assert accounts.take() == {}, "nothing is written where nothing was counted"


def test_a_request_in_flight_still_counts_after_its_limits_were_changed(today: Days) -> None:
    accounts = Accounts()
    before = accounts.of("a", KeyLimits())
    before.begin()
    after = accounts.of("a", KeyLimits(concurrency=1))
    before.generated(7)
    with pytest.raises(RateLimited, match="1 requests at a time"):
        after.begin()
    before.end(failed=True)
    after.begin()
    assert accounts.take() == {("a", today[0]): KeyUsage(requests=2, refused=1, errors=1, tokens_out=7)}
