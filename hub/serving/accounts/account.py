"""What one caller may use in this process, and what it has used."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from hub.engine.shares import Flow
from hub.errors import RateLimited
from hub.serving.accounts.bucket import TokenBucket
from hub.store.catalog.keys import KeyLimits, KeyUsage

__all__ = ["ANYBODY", "Account", "Accounts"]

Day = str
MAX_RETRY_S = 3600


class Account:
    """The limits of one caller and its counts since they were last taken. Thread-safe."""

    def __init__(self, id: str, limits: KeyLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.id = id
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight = 0
        self._usage: dict[Day, KeyUsage] = {}
        self.limit(limits)

    def limit(self, limits: KeyLimits) -> None:
        """Set the limits, which start anew; requests in flight still count."""
        with self._lock:
            now = self._clock()
            self.limits = limits
            self._requests = _bucket(limits.requests_per_minute, now)
            self._rows = _bucket(limits.rows_per_minute, now)

    def flow(self, deployment: str) -> Flow:
        """Return the flow of this caller's rows to a deployment."""
        return Flow(self.id, deployment, self.limits.weight)

    def begin(self) -> None:
        """Count a request that begins; `end` must follow.

        Raises:
            RateLimited: a limit is reached; `end` must not be called.
        """
        with self._lock:
            now, limits = self._clock(), self.limits
            if limits.concurrency is not None and self._in_flight >= limits.concurrency:
                self._refuse(f"{limits.concurrency} requests at a time", 1.0)
            if self._requests and (wait_s := self._requests.wait_s(now)):
                self._refuse(f"{limits.requests_per_minute} requests a minute", wait_s)
            self._check_rows(now)
            if self._requests:
                self._requests.charge(1)
            self._in_flight += 1
            self._today.requests += 1

    def end(self, failed: bool) -> None:
        """Count the end of a request."""
        with self._lock:
            self._in_flight -= 1
            self._today.errors += failed

    def charge(self, rows: int, tokens: int) -> None:
        """Count the rows of a call, and their tokens, before they are queued.

        Raises:
            RateLimited: earlier rows have used up the limit; these are not counted.
        """
        with self._lock:
            self._check_rows(self._clock())
            if self._rows:
                self._rows.charge(rows)
            self._today.rows += rows
            self._today.tokens_in += tokens

    def generated(self, tokens: int) -> None:
        """Count generated tokens."""
        with self._lock:
            self._today.tokens_out += tokens

    def take(self) -> dict[Day, KeyUsage]:
        """Return the counts by date (UTC) and start again from zero."""
        with self._lock:
            taken, self._usage = self._usage, {}
        return taken

    @property
    def _today(self) -> KeyUsage:
        return self._usage.setdefault(_date(), KeyUsage())

    def _check_rows(self, now: float) -> None:
        if self._rows and (wait_s := self._rows.wait_s(now)):
            self._refuse(f"{self.limits.rows_per_minute} rows a minute", wait_s)

    def _refuse(self, limit: str, wait_s: float) -> None:
        self._today.refused += 1
        error = RateLimited(
            f"This key may send {limit} to a serving process. Send the request again in {wait_s:.1f} s."
        )
        error.retry_after_s = min(math.ceil(wait_s), MAX_RETRY_S)
        raise error


class Accounts:
    """The accounts of this process. Only callers that were admitted have one, so their number is bounded."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def of(self, caller: str, limits: KeyLimits) -> Account:
        """Return the account of a caller; a change of its limits starts them anew."""
        account = self._accounts.get(caller)
        if account is None:
            account = self._accounts[caller] = Account(caller, limits)
        elif account.limits != limits:
            account.limit(limits)
        return account

    def take(self) -> dict[tuple[str, Day], KeyUsage]:
        """Return the counts since the last call, by caller and date (UTC)."""
        taken = {id: account.take() for id, account in list(self._accounts.items())}
        counts = {(id, day): usage for id, days in taken.items() for day, usage in days.items()}
        return {key: usage for key, usage in counts.items() if usage != KeyUsage()}


def _date() -> Day:
    return datetime.now(UTC).date().isoformat()


def _bucket(per_minute: int | None, now: float) -> TokenBucket | None:
    return TokenBucket(per_minute, now) if per_minute else None


ANYBODY = Account("anonymous", KeyLimits())  # of calls that do not come through HTTP; never read
