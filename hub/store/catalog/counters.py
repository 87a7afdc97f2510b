"""Counters of the versions in a trial: one row per replica, summed when read."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import DeploymentRow, TrialCountsRow

__all__ = ["Counters", "TrialCounts", "TrialKey"]

_SHORTEST_S = 1e-4
_PER_OCTAVE = 8  # buckets; each is 9 % wider than the previous one
_BUCKETS = 24 * _PER_OCTAVE  # up to 28 minutes


class TrialKey(NamedTuple):
    """A version in a trial (see `Deployment.trial`)."""

    deployment: str
    trial: int
    sha256: str


@dataclass(slots=True)
class TrialCounts:
    """Counts of requests, errors, comparisons and agreements.

    `latencies` counts answered requests by bucket; quantiles are off by at most 9 %, the width of a bucket.
    """

    requests: int = 0
    errors: int = 0
    compared: int = 0
    agreed: int = 0
    latencies: Counter[int] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        return self.requests - self.errors

    def answer(self, seconds: float) -> None:
        """Count a request and its latency."""
        self.requests += 1
        self.latencies[_bucket(seconds)] += 1

    def fail(self) -> None:
        """Count a request that failed."""
        self.requests += 1
        self.errors += 1

    def compare(self, agreed: bool) -> None:
        """Count a comparison with the version that ran beside it."""
        self.compared += 1
        self.agreed += agreed

    def add(self, other: TrialCounts) -> None:
        """Add the counts of another replica."""
        self.requests += other.requests
        self.errors += other.errors
        self.compared += other.compared
        self.agreed += other.agreed
        self.latencies.update(other.latencies)

    def copy(self) -> TrialCounts:
        return TrialCounts(self.requests, self.errors, self.compared, self.agreed, self.latencies.copy())

    def quantile(self, share: float) -> float:
        """Return the latency quantile `share` in seconds; 0 without answers."""
        wanted = share * self.latencies.total()
        seen = 0
        for bucket, count in sorted(self.latencies.items()):
            if seen + count >= wanted:
                return _edge(bucket - 1 + (wanted - seen) / count)
            seen += count
        return 0.0

    def slower_than(self, seconds: float) -> float:
        """Return the number of answers slower than `seconds`, interpolated within its bucket."""
        place = _place(seconds)
        return sum(count * min(1.0, max(0.0, bucket - place)) for bucket, count in self.latencies.items())


class Counters:
    """The catalog's table of counters. A replica writes its totals, so a write can be repeated."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def save(self, replica: str, counters: Mapping[TrialKey, TrialCounts]) -> set[TrialKey]:
        """Write the totals of a replica; return the keys whose trial is over, which are not written."""
        with self._catalog.write() as session:
            trials = _trials(session, {key.deployment for key in counters})
            over = {key for key in counters if trials.get(key.deployment) != key.trial}
            for key in counters.keys() - over:
                session.merge(_row_of(replica, key, counters[key]))
            return over

    def of(self, deployment: str, trial: int) -> dict[str, TrialCounts]:
        """Return the counts of all replicas in a trial, by the version's sha256."""
        query = select(TrialCountsRow).where(
            TrialCountsRow.deployment == deployment, TrialCountsRow.trial == trial
        )
        found: dict[str, TrialCounts] = {}
        with self._catalog.read() as session:
            for row in session.scalars(query):
                found.setdefault(row.sha256, TrialCounts()).add(_counts_of(row))
        return found

    def prune(self) -> None:
        """Remove the counters of trials that are over."""
        with self._catalog.read() as session:
            if session.scalar(select(TrialCountsRow.trial).where(_OVER).limit(1)) is None:
                return
        with self._catalog.write() as session:
            session.execute(delete(TrialCountsRow).where(_OVER))


_OVER = ~exists().where(
    DeploymentRow.name == TrialCountsRow.deployment, DeploymentRow.trial == TrialCountsRow.trial
)


def _trials(session: Session, names: Iterable[str]) -> dict[str, int | None]:
    query = select(DeploymentRow.name, DeploymentRow.trial).where(DeploymentRow.name.in_(list(names)))
    return {name: trial for name, trial in session.execute(query)}


def _row_of(replica: str, key: TrialKey, counter: TrialCounts) -> TrialCountsRow:
    return TrialCountsRow(
        deployment=key.deployment,
        trial=key.trial,
        sha256=key.sha256,
        replica=replica,
        requests=counter.requests,
        errors=counter.errors,
        compared=counter.compared,
        agreed=counter.agreed,
        latencies=json.dumps(counter.latencies),
    )


def _counts_of(row: TrialCountsRow) -> TrialCounts:
    latencies = Counter({int(bucket): count for bucket, count in json.loads(row.latencies).items()})
    return TrialCounts(row.requests, row.errors, row.compared, row.agreed, latencies)


def _place(seconds: float) -> float:
    """Return the position of a time on the scale of buckets: bucket b holds b - 1 to b."""
    if seconds <= _SHORTEST_S:
        return 0.0
    return min(float(_BUCKETS), _PER_OCTAVE * math.log2(seconds / _SHORTEST_S))


def _bucket(seconds: float) -> int:
    return math.ceil(_place(seconds))


def _edge(place: float) -> float:
    return float(_SHORTEST_S * 2 ** (max(0.0, place) / _PER_OCTAVE))
