"""API keys in the catalog, and what they were used for. A key itself is returned once and never stored."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.errors import BadRequest, Conflict, NotFound
from hub.keys import HASH_PREFIX, KEY_PREFIX, Scopes, hash_key
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import ApiKeyRow, GenerationRow, KeyUsageRow

__all__ = ["ApiKey", "ApiKeys", "KeyLimits", "KeyTable", "KeyUsage"]

_ID_BYTES = 6
_SECRET_BYTES = 32
_LABEL_CHARS = 63
MAX_WEIGHT = 1000.0


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of a key in one serving process; None: no limit. `weight`: its share under overload."""

    requests_per_minute: int | None = None
    rows_per_minute: int | None = None
    concurrency: int | None = None
    weight: float = 1.0

    def check(self) -> None:
        """Check the values.

        Raises:
            BadRequest: one is not positive, or the weight is too large.
        """
        for name in ("requests_per_minute", "rows_per_minute", "concurrency"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < 2**31:
                raise BadRequest(f"{name} is {limit}; it must be 1 or more.")
        if not 1 / MAX_WEIGHT <= self.weight <= MAX_WEIGHT:
            raise BadRequest(
                f"weight is {self.weight:g}; it must be from {1 / MAX_WEIGHT:g} to {MAX_WEIGHT:g}."
            )


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the catalog has it. `hashes`: those of the key, and until `old_until` of the previous one."""

    id: str
    label: str
    sha256: str
    scopes: Scopes
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    old_sha256: str | None = None
    old_until: datetime | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)

    def hashes(self, now: datetime) -> tuple[str, ...]:
        """Return the hashes of the texts that are valid for this key at `now`, if it is valid at all."""
        if self.old_sha256 and self.old_until and now < self.old_until:
            return self.sha256, self.old_sha256
        return (self.sha256,)

    def state(self, now: datetime) -> str:
        """Return valid, expired or revoked."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and now >= self.expires else "valid"


@dataclass(frozen=True, slots=True)
class KeyTable:
    """All keys of a catalog, by id, after `version` changes of keys."""

    version: int = 0
    by_id: Mapping[str, ApiKey] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(slots=True)
class KeyUsage:
    """Requests with a key, those that its limits refused, those that failed, and rows and tokens."""

    requests: int = 0
    refused: int = 0
    errors: int = 0
    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, other: KeyUsage) -> None:
        """Add other counts."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


class ApiKeys:
    """The catalog's table of keys. Keys are revoked, never removed: who has had one stays known."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def create(
        self, label: str, scopes: Scopes, *, expires: timedelta | None = None, limits: KeyLimits | None = None
    ) -> tuple[ApiKey, str]:
        """Store a new key; return it with its text, which is not stored.

        Raises:
            BadRequest: the label is empty, too long or not printable, or a limit is invalid.
        """
        if not 0 < len(label) <= _LABEL_CHARS or not label.isprintable():
            raise BadRequest(f"A key's label is 1 to {_LABEL_CHARS} printable characters.")
        limits = limits or KeyLimits()
        limits.check()
        now = datetime.now(UTC)
        id = secrets.token_hex(_ID_BYTES)
        text = _new_text(id)
        key = ApiKey(id, label, _hash(text), scopes, now, _after(now, expires), limits=limits)
        with self._catalog.write() as session:
            session.add(_row_of(key))
            self._changed(session)
        return key, text

    def rotate(self, id: str, grace: timedelta) -> tuple[ApiKey, str]:
        """Give a key a new text, which is returned; the previous one stays valid for `grace`.

        Raises:
            NotFound: there is no such key.
            Conflict: it is revoked or expired.
        """
        now = datetime.now(UTC)
        text = _new_text(id)
        with self._catalog.write() as session:
            row = _find(session, id)
            if (state := _key_of(row).state(now)) != "valid":
                raise Conflict(f"The key {id} is {state}. Create another one with `hub keys create`.")
            row.old_sha256, row.old_until = (row.sha256, _text(_after(now, grace))) if grace else (None, None)
            row.sha256 = _hash(text)
            self._changed(session)
            return _key_of(row), text

    def revoke(self, id: str) -> ApiKey:
        """Make a key invalid; a revoked one stays as it is.

        Raises:
            NotFound: there is no such key.
        """
        with self._catalog.write() as session:
            row = _find(session, id)
            if row.revoked is None:
                row.revoked, row.old_sha256, row.old_until = _text(datetime.now(UTC)), None, None
                self._changed(session)
            return _key_of(row)

    def all(self) -> list[ApiKey]:
        """Return the keys, oldest first."""
        return list(self.table().by_id.values())

    def version(self) -> int:
        """Return the number of changes of keys."""
        with self._catalog.read() as session:
            return session.scalars(select(GenerationRow.keys)).one()

    def table(self) -> KeyTable:
        """Return all keys, oldest first, with their version."""
        with self._catalog.read() as session:
            version = session.scalars(select(GenerationRow.keys)).one()
            rows = session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.created, ApiKeyRow.id))
            return KeyTable(version, MappingProxyType({row.id: _key_of(row) for row in rows}))

    def count(self, usage: Mapping[tuple[str, str], KeyUsage]) -> None:
        """Add counts, by caller and day."""
        with self._catalog.write() as session:
            for (caller, day), counts in usage.items():
                row = session.get(KeyUsageRow, (caller, day))
                if row is None:
                    session.add(KeyUsageRow(caller=caller, day=day, **asdict(counts)))
                else:
                    for name, more in asdict(counts).items():
                        setattr(row, name, getattr(row, name) + more)

    def usage(self, since: str = "") -> dict[tuple[str, str], KeyUsage]:
        """Return the counts by caller and day, from the day `since` on."""
        query = select(KeyUsageRow).where(KeyUsageRow.day >= since)
        with self._catalog.read() as session:
            rows = session.scalars(query.order_by(KeyUsageRow.day, KeyUsageRow.caller))
            return {
                (row.caller, row.day): KeyUsage(*(getattr(row, one.name) for one in fields(KeyUsage)))
                for row in rows
            }

    def _changed(self, session: Session) -> None:
        session.scalars(select(GenerationRow)).one().keys += 1
        self._catalog.changed(session)


def _find(session: Session, id: str) -> ApiKeyRow:
    row = session.get(ApiKeyRow, id[:64])
    if row is None:
        raise NotFound.of("key", id[:64], session.scalars(select(ApiKeyRow.id)))
    return row


def _new_text(id: str) -> str:
    return f"{KEY_PREFIX}{id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def _hash(text: str) -> str:
    return hash_key(text).removeprefix(HASH_PREFIX)


def _row_of(key: ApiKey) -> ApiKeyRow:
    return ApiKeyRow(
        id=key.id,
        label=key.label,
        sha256=key.sha256,
        scopes=str(key.scopes),
        created=_text(key.created),
        expires=_text(key.expires),
        **asdict(key.limits),
    )


def _key_of(row: ApiKeyRow) -> ApiKey:
    created = _time(row.created)
    assert created
    return ApiKey(
        id=row.id,
        label=row.label,
        sha256=row.sha256,
        scopes=Scopes.parse(row.scopes.split()),
        created=created,
        expires=_time(row.expires),
        revoked=_time(row.revoked),
        old_sha256=row.old_sha256,
        old_until=_time(row.old_until),
        limits=KeyLimits(row.requests_per_minute, row.rows_per_minute, row.concurrency, row.weight),
    )


def _after(now: datetime, time: timedelta | None) -> datetime | None:
    return now + time if time else None


def _text(when: datetime | None) -> str | None:
    return when.isoformat(timespec="microseconds") if when else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
