"""Keys in the catalog, on both kinds of it: shown once, hashed at rest, rotated, revoked and counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hub.errors import BadRequest, Conflict, NotFound
from hub.keys import Scopes, id_of_key
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.keys import ApiKeys, KeyLimits, KeyUsage

INFER = Scopes.parse(["infer:mood*", "train"])


@pytest.fixture(params=["sqlite", "postgres"])
def keys(request, tmp_path) -> Iterator[ApiKeys]:
    on_postgres = request.param == "postgres"
    catalog = Catalog(request.getfixturevalue("postgres_url") if on_postgres else tmp_path / "catalog.db")
    yield ApiKeys(catalog)
    catalog.close()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_key_is_read_as_it_was_created(keys: ApiKeys) -> None:
    limits = KeyLimits(60, 600, 4, 2.5)
    key, text = keys.create("shop", INFER, expires=timedelta(days=30), limits=limits)
    assert keys.all() == [key]
    assert id_of_key(text) == key.id
    assert key.hashes(datetime.now(UTC)) == (sha256(text),)
    assert (key.label, key.scopes, key.limits) == ("shop", INFER, limits)
    assert key.expires == key.created + timedelta(days=30)


def test_the_text_of_a_key_is_in_no_file(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.db")
    keys = ApiKeys(catalog)
    key, first = keys.create("shop", INFER)
    _, second = keys.rotate(key.id, timedelta(days=1))
    for path in tmp_path.iterdir():
        for text in (first, second):
            assert text.encode() not in path.read_bytes()
            assert text.split("_", 2)[2].encode() not in path.read_bytes()
    assert sha256(second).encode() in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_both_texts_of_a_rotated_key_are_valid_until_the_grace_is_over(keys: ApiKeys) -> None:
    key, first = keys.create("shop", INFER)
    rotated, second = keys.rotate(key.id, timedelta(hours=1))
    now = datetime.now(UTC)
    assert rotated.hashes(now) == (sha256(second), sha256(first))
    assert rotated.hashes(now + timedelta(hours=2)) == (sha256(second),)
    assert id_of_key(second) == key.id
    at_once, third = keys.rotate(key.id, timedelta())
    assert at_once.hashes(now) == (sha256(third),)


def test_a_revoked_key_loses_its_previous_text_and_cannot_be_rotated(keys: ApiKeys) -> None:
    key, _ = keys.create("shop", INFER)
    keys.rotate(key.id, timedelta(days=1))
    revoked = keys.revoke(key.id)
    assert revoked.state(datetime.now(UTC)) == "revoked"
    assert len(revoked.hashes(datetime.now(UTC))) == 1
    assert keys.revoke(key.id) == revoked
    with pytest.raises(Conflict, match="revoked"):
        keys.rotate(key.id, timedelta())


def test_an_expired_key_says_so_and_cannot_be_rotated(keys: ApiKeys) -> None:
    key, _ = keys.create("shop", INFER, expires=timedelta(microseconds=1))
    assert key.state(datetime.now(UTC) + timedelta(seconds=1)) == "expired"
    with pytest.raises(Conflict, match="expired"):
        keys.rotate(key.id, timedelta())


def test_every_change_of_keys_is_counted_and_others_are_not(keys: ApiKeys) -> None:
    versions = [keys.version()]
    key, _ = keys.create("shop", INFER)
    versions.append(keys.version())
    keys.rotate(key.id, timedelta())
    versions.append(keys.version())
    keys.revoke(key.id)
    versions.append(keys.version())
    keys.revoke(key.id)
    keys.count({(key.id, "2026-01-01"): KeyUsage(requests=1)})
    versions.append(keys.version())
    assert versions == [0, 1, 2, 3, 3]
    assert keys.table().version == 3


def test_usage_is_added_up_by_day(keys: ApiKeys) -> None:
    keys.count({("k", "2026-01-01"): KeyUsage(1, 2, 3, 4, 5, 6), ("k", "2026-01-02"): KeyUsage(requests=1)})
    keys.count({("k", "2026-01-01"): KeyUsage(1, 1, 1, 1, 1, 2**40)})
    assert keys.usage() == {
        ("k", "2026-01-01"): KeyUsage(2, 3, 4, 5, 6, 2**40 + 6),
        ("k", "2026-01-02"): KeyUsage(requests=1),
    }
    assert list(keys.usage("2026-01-02")) == [("k", "2026-01-02")]


@pytest.mark.parametrize("id", ["", "nobody", "x" * 5000, "'; DROP TABLE api_keys"])
def test_an_unknown_id_is_not_found(keys: ApiKeys, id) -> None:
    for call in (lambda: keys.revoke(id), lambda: keys.rotate(id, timedelta())):
        with pytest.raises(NotFound):
            call()


@pytest.mark.parametrize(
    ("label", "limits"),
    [
        ("", KeyLimits()),
        ("x" * 64, KeyLimits()),
        ("two\nlines", KeyLimits()),
        ("shop", KeyLimits(requests_per_minute=0)),
        ("shop", KeyLimits(rows_per_minute=-1)),
        ("shop", KeyLimits(concurrency=2**31)),
        ("shop", KeyLimits(weight=0.0)),
        ("shop", KeyLimits(weight=float("nan"))),
        ("shop", KeyLimits(weight=1e9)),
    ],
)
def test_what_makes_no_key_is_refused(keys: ApiKeys, label, limits) -> None:
    with pytest.raises(BadRequest):
        keys.create(label, INFER, limits=limits)
    assert keys.all() == []
