"""Sends a version to another hub or to a depot, and takes one from there, compared with its hash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from hub.imports.folder import Described, Workspace, import_folder
from hub.names import VersionRef
from hub.store.records import Version
from hub.store.store import Store
from hub.transfer.archive import ArchivedVersion, read_archive, write_archive
from hub.transfer.depot import Depot

__all__ = ["Received", "archive_of", "pull_from_depot", "push_to_depot", "receive"]


@dataclass(frozen=True, slots=True)
class Received:
    """A version that arrived: as its own hub named it, and as it is stored here."""

    sent: ArchivedVersion
    version: Version


@contextmanager
def archive_of(store: Store, ref: VersionRef | str) -> Iterator[tuple[ArchivedVersion, IO[bytes]]]:
    """Yield the record and the archive of a version, as a temporary file; downloads its files if need be.

    Raises:
        NotFound, BadAdapter, SourceUnavailable: there is no such version, or its files are not intact.
    """
    version = store.get(ref)
    store.fetch(version)
    with TemporaryFile() as file:
        record = write_archive(version, file)
        file.seek(0)
        yield record, file


def push_to_depot(store: Store, ref: VersionRef | str, url: str, *, replace: bool = False) -> ArchivedVersion:
    """Write a version to a depot.

    Raises:
        Conflict: it is there already.
        NotFound, BadAdapter, SourceUnavailable: as `archive_of`, and if the URL cannot be reached.
    """
    version = store.get(ref)
    store.fetch(version)
    with Depot(url).writing(version.ref, replace=replace) as stream:
        return write_archive(version, stream)


def pull_from_depot(url: str, ref: VersionRef, workspace: Workspace, *, name: str | None = None) -> Received:
    """Store a version of a depot as the next version of `name`, by default of its own name.

    Raises:
        NotFound: the depot does not have it.
        BadAdapter, BaseMismatch and others: as `receive`.
    """
    with Depot(url).reading(ref) as stream:
        return receive(stream, workspace, name=name)


def receive(stream: IO[bytes], workspace: Workspace, *, name: str | None = None) -> Received:
    """Store the version in an archive; one with the same content and name is stored once.

    Raises:
        BadAdapter: the archive was cut off or altered, or the version cannot be served here.
        BaseMismatch: its base is not on this machine.
    """
    with TemporaryDirectory(prefix="hub-receive-") as folder:
        sent = read_archive(stream, Path(folder))
        imported = import_folder(Path(folder), name or sent.name, Described(), workspace)
    return Received(sent, imported.version)
