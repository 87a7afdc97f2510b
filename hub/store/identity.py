"""Checks that a catalog belongs to its contents, and keeps a record of each version beside its content."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select

from hub.errors import HubError, NotReady, SourceUnavailable
from hub.files import write_file
from hub.names import VersionRef, parse_version_ref
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import VersionRow
from hub.store.content.content import RECORD_FILE, Contents
from hub.store.manifest import Manifest
from hub.store.mark import CatalogMark
from hub.store.records import Version
from hub.untrusted import parse_json

__all__ = ["Record", "check_catalog", "parse_record", "read_records", "refuse_if_gone", "write_record"]

log = logging.getLogger(__name__)

_MAX_RECORD_BYTES = 32 << 20  # bytes of a record
_ADVICE = (
    "Put the newest copy of the catalog back. To go on with this one, run `hub doctor --adopt`: it accepts "
    "this catalog and adds the versions of {folder} that it does not have."
)


class Record(NamedTuple):
    """The record of one version beside its content, from which its row can be restored."""

    catalog: str
    ref: VersionRef
    created: str
    manifest: Manifest


def refuse_if_gone(catalog: Path, contents: Contents) -> None:
    """Refuse to create an empty catalog if contents exist and their catalog file is missing or empty.

    Raises:
        NotReady: the message explains how to restore the catalog.
    """
    had_contents = _has_contents(contents)  # first: another process may make the catalog and add contents
    gone = not catalog.exists()
    if had_contents and (gone or not catalog.stat().st_size):
        raise NotReady(
            f"{catalog} is {'gone' if gone else 'empty'}, and {contents.folder} holds the files of versions. "
            + _ADVICE.format(folder=contents.folder)
        )


def check_catalog(catalog: Catalog, mark: CatalogMark, contents: Contents, *, accept: bool) -> None:
    """Compare the catalog with the mark beside the contents; `accept` replaces the mark instead.

    Raises:
        NotReady: it is another catalog, an empty one, or an older copy.
    """
    seen = mark.read()  # first: another process may change the catalog meanwhile, and then the mark
    state = catalog.state()
    if accept or (seen and seen.catalog != state.catalog and not _has_contents(contents)):
        mark.replace(state)
        return
    advice = _ADVICE.format(folder=contents.folder)
    if seen is None:
        if not _has_contents(contents):
            return
        if not _has_versions(catalog) and not _has_versions_after_adds(catalog, contents):
            raise NotReady(
                f"{catalog.shown} has no versions, and {contents.folder} holds the files of some. {advice}"
            )
        mark.advance(state)
    elif seen.catalog != state.catalog:
        raise NotReady(
            f"{catalog.shown} is another catalog than the one of the versions in {contents.folder}. {advice}"
        )
    elif seen.changes > state.changes:
        raise NotReady(
            f"{catalog.shown} is an older copy: it has {state.changes} changes, and {seen.changes} were made "
            f"in {contents.folder.parent}. {advice}"
        )


def _has_versions_after_adds(catalog: Catalog, contents: Contents) -> bool:
    """Wait for a process that is adding: its files are in place before its row is."""
    with contents.lock:
        return _has_versions(catalog)


def write_record(contents: Contents, catalog: str, version: Version) -> None:
    """Write a version's row beside its content, so that a lost row can be restored.

    The row is already committed, so a failed write is only logged.
    """
    text = json.dumps(
        {
            "catalog": catalog,
            "version": str(version.ref),
            "created": version.created.isoformat(timespec="microseconds"),
            "manifest": version.manifest.model_dump(mode="json"),
        }
    )
    folder = version.path / str(version.ref)
    try:
        folder.mkdir(exist_ok=True)
        write_file(folder / RECORD_FILE, text + "\n")
        if contents.blobs:
            contents.blobs.put_beside(version.sha256, f"{version.ref}/{RECORD_FILE}", text.encode())
    except (OSError, SourceUnavailable) as error:
        log.warning("The record of %s cannot be written: %s", version.ref, error)


def read_records(content: Path) -> list[Record]:
    """Return the valid records beside a content."""
    found = []
    for path in sorted(content.glob(f"*/{RECORD_FILE}")):
        try:
            data = path.read_bytes() if path.stat().st_size <= _MAX_RECORD_BYTES else b""
        except OSError:
            data = b""
        if record := parse_record(data, str(path)):
            found.append(record)
    return found


def parse_record(data: bytes, where: str) -> Record | None:
    """Parse a record; None if it is invalid."""
    try:
        value = parse_json(data)
        ref = parse_version_ref(value["version"])
        manifest = Manifest.model_validate_json(json.dumps(value["manifest"]))
        created = datetime.fromisoformat(value["created"]).isoformat(timespec="microseconds")
        return Record(str(value["catalog"]), ref, created, manifest)
    except (ValueError, TypeError, KeyError, RecursionError, HubError) as error:
        log.warning("The record %s cannot be read: %s", where, type(error).__name__)
        return None


def _has_contents(contents: Contents) -> bool:
    return any(contents.all())


def _has_versions(catalog: Catalog) -> bool:
    with catalog.read() as session:
        return session.scalar(select(VersionRow.id).limit(1)) is not None
