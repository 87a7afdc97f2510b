"""Adds contents to a catalog that lacks them, as the versions named by their records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.errors import HubError
from hub.names import VersionRef
from hub.store.catalog.tables import AdapterRow, VersionRow
from hub.store.content.content import RECORD_FILE, Contents, content_hash
from hub.store.identity import Record, parse_record, read_records, write_record
from hub.store.manifest import MANIFEST_FILE, Manifest
from hub.store.store import Store

__all__ = ["Adopted", "adopt", "candidates"]

LOCK_S = 30.0


@dataclass(frozen=True, slots=True)
class Adopted:
    """A content and its new version; `ref` is empty if it could not be added, for the given `reason`."""

    sha256: str
    ref: str
    reason: str = ""


def adopt(store: Store, former: str = "") -> list[Adopted]:
    """Add every version that has a record beside its content and no row in the catalog.

    `former` is the id of the previous catalog of the home: at a URL, contents of other catalogs are skipped.
    A version number that is in use now is replaced by the next free one.
    """
    found: list[Adopted | None] = []
    if store.contents.blobs:
        found += _fetch_lost(store, {former, store.contents.owner})
    with store.contents.lock.acquire(timeout=LOCK_S):
        for path in sorted(store.contents.folder.glob("?" * 64)):
            for record in candidates(path, _is_known(store, path.name)):
                found.append(_adopt_one(store, path, record))
    return [one for one in found if one is not None]


def candidates(content: Path, known: bool) -> list[Record]:
    """Return the records of a content; without one, a record with a generated name.

    `known`: a row names the content, so no name is generated.
    """
    records = read_records(content)
    if not (records or known):
        try:
            manifest = Manifest.model_validate_json((content / MANIFEST_FILE).read_bytes())
        except (OSError, ValidationError):
            return []
        records = [Record("", VersionRef(f"recovered-{content.name[:12]}", 1), manifest.created, manifest)]
    return records


def _adopt_one(store: Store, content: Path, record: Record) -> Adopted | None:
    """Add one version; None if the catalog already has this content under this name."""
    sha256 = content.name
    with store.catalog.write() as session:
        query = select(VersionRow.id).filter_by(name=record.ref.name, sha256=sha256)
        if session.scalar(query) is not None:
            return None
        try:
            sound = content_hash(content, record.manifest.serving) == sha256
        except OSError:
            sound = False
        if not sound:
            return Adopted(sha256, "", f"the files of {record.ref} do not have the hash of their folder")
        number = _number(session, record.ref)
        session.add(
            VersionRow(
                name=record.ref.name,
                number=number,
                sha256=sha256,
                manifest=record.manifest.model_dump_json(),
                created=record.created,
            )
        )
        store.catalog.changed(session)
    store.contents.settled(sha256)
    version = store.get(VersionRef(record.ref.name, number))
    if number != record.ref.number:
        (content / str(record.ref) / RECORD_FILE).unlink(missing_ok=True)
    write_record(store.contents, store.contents.owner, version)
    if store.contents.blobs:
        store.contents.publish(content, sha256, version.manifest)
    return Adopted(sha256, str(version.ref))


def _number(session: Session, ref: VersionRef) -> int:
    adapter = session.get(AdapterRow, ref.name) or AdapterRow(name=ref.name, last_number=0)
    taken = session.scalar(select(VersionRow.id).filter_by(name=ref.name, number=ref.number))
    number = adapter.last_number + 1 if taken is not None or ref.number is None else ref.number
    adapter.last_number = max(adapter.last_number, number)
    session.add(adapter)
    session.flush()
    return number


def _is_known(store: Store, sha256: str) -> bool:
    with store.catalog.read() as session:
        return session.scalar(select(VersionRow.id).filter_by(sha256=sha256).limit(1)) is not None


def _fetch_lost(store: Store, catalogs: set[str]) -> Iterator[Adopted]:
    """Download the contents of these catalogs whose rows are lost."""
    contents: Contents = store.contents
    assert contents.blobs
    for sha256 in contents.blobs.names():
        here = contents.path(sha256)
        if here.is_dir() or _is_known(store, sha256) or not contents.blobs.owners(sha256) & catalogs:
            continue
        try:
            for name, data in contents.blobs.records(sha256, RECORD_FILE).items():
                record = parse_record(data, f"{sha256}/{name}")
                if record and record.catalog in catalogs:
                    contents.fetch(sha256, record.manifest)
                    folder = here / str(record.ref)  # not `name`: of an object store it may be ".."
                    folder.mkdir(exist_ok=True)
                    (folder / RECORD_FILE).write_bytes(data)
        except HubError as error:
            yield Adopted(sha256, "", str(error))
