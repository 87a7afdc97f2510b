"""The store: immutable adapter versions on disk, and the catalog of versions and deployments."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack

from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.bases.cache import Bases
from hub.config import Settings
from hub.contract import PluginRef
from hub.errors import Conflict, NotReady, SourceUnavailable
from hub.names import VersionRef, check_name
from hub.store.card.folder import write_folder
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.deployments import Deployments
from hub.store.catalog.tables import AdapterRow, DeploymentRow, VersionRow
from hub.store.content.content import Contents, content_hash
from hub.store.content.reports import Reports
from hub.store.content.weights import AdapterFiles, read_adapter
from hub.store.identity import check_catalog, refuse_if_gone, write_record
from hub.store.manifest import (
    Calibration,
    DataRef,
    Manifest,
    PrecisionRecord,
    Search,
    Serving,
    Spread,
    UnderperformingSlice,
)
from hub.store.mark import CatalogMark
from hub.store.peft.peft_folder import check_outputs
from hub.store.records import Version

__all__ = ["CATALOG_FILE", "Check", "Store", "Training"]

log = logging.getLogger(__name__)

CATALOG_FILE = "catalog.db"
_TRIES = 3  # attempts of an add while others remove the same content

Check = Callable[[AdapterFiles, Serving], None]
"""Raises BadAdapter when the files cannot be served as stated; called before anything is stored."""


class Training(TypedDict, total=False):
    """The fields of a manifest that training fills."""

    metrics: Mapping[str, float]
    metric: str
    metric_goal: Literal["max", "min"]
    signatures: Mapping[str, str]
    metrics_cv: Mapping[str, Spread]
    intervals: Mapping[str, tuple[float, float]]
    calibration: Calibration | None
    underperforming_slices: Sequence[UnderperformingSlice]
    data: DataRef | None
    recipe: Mapping[str, Any] | None
    search: Search | None
    ablation: Mapping[str, Any]
    plugin: PluginRef | None
    libraries: Mapping[str, str]
    train_seconds: float | None
    precision: Mapping[str, PrecisionRecord]


class Store(Deployments):
    """Versions and deployments under one home folder; any number of processes may have it open.

    `catalog` is the URL of a database that several homes share; by default it is a file in the home. `blobs`
    is the URL of shared adapter files, used when needed. `keep_open` keeps connections for frequent reads.
    `accept`: accept the catalog as that of this home without comparing it with the contents.

    Raises:
        NotReady: the catalog is gone, another one, or older than the contents.
    """

    def __init__(
        self,
        home: Path,
        catalog: str = "",
        blobs: str = "",
        *,
        keep_open: bool = False,
        accept: bool = False,
    ) -> None:
        self.home = home
        self.bases = Bases(home)
        self.contents = Contents(home / "adapters", blobs)
        self.reports = Reports(self.contents)
        mark = CatalogMark(self.contents.folder)
        if not (catalog or accept):
            refuse_if_gone(home / CATALOG_FILE, self.contents)
        super().__init__(Catalog(catalog or home / CATALOG_FILE, keep_open=keep_open), self.contents)
        try:
            check_catalog(self.catalog, mark, self.contents, accept=accept)
        except NotReady:
            self.close()
            raise
        self.catalog.committed = mark.advance
        self.contents.owner = self.catalog.state().catalog
        self._sweep()

    @classmethod
    def of(cls, settings: Settings, *, keep_open: bool = False, accept: bool = False) -> Store:
        """Open the store that the settings name; `keep_open` as for `Catalog`, `accept` as for this class."""
        return cls(
            settings.home, settings.catalog.url, settings.store.blobs, keep_open=keep_open, accept=accept
        )

    def close(self) -> None:
        """Close the connections to the catalog; a store can also be used as a context manager."""
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def add(
        self,
        name: str,
        folder: Path,
        serving: Serving,
        *,
        origin: str,
        check: Check | None = None,
        **training: Unpack[Training],
    ) -> Version:
        """Store the PEFT files in `folder` as the next version of `name`.

        The files are copied to a private folder, checked there, hashed, uploaded if the store has a URL,
        flushed to disk and renamed into place before the catalog names them. If `name` already has the same
        content, its version is returned.

        Raises:
            BadAdapter, UnsafeWeights: the files are not a valid adapter; nothing is stored.
            SourceUnavailable: the store's URL cannot be reached; nothing is stored.
        """
        check_name(name, "adapter")
        check_outputs(serving)
        created = datetime.now(UTC).isoformat(timespec="microseconds")
        manifest = Manifest(serving=serving, created=created, origin=origin, **training)
        with self.contents.incoming(folder, serving) as private:
            files = read_adapter(private)
            if check:
                check(files, serving)
            sha256, files_at = content_hash(private, serving), private
            self.contents.note(sha256)
            for _ in range(_TRIES):
                self.contents.publish(files_at, sha256, manifest)
                with self.contents.lock:
                    files_at = self.contents.place(private, sha256, manifest)
                    version = self._record(name, sha256, manifest)
                    if version:
                        write_record(self.contents, self.contents.owner, version)
                if version:
                    self.contents.settled(sha256)
                    if self.contents.blobs:
                        self._settle()
                    return version
        raise Conflict(f"The files of {name!r} were removed while they were stored. Try again.")

    def get(self, ref: VersionRef | str) -> Version:
        """Return a version; without a number, the newest.

        Raises:
            NotFound: lists the versions of that name, or the names there are.
        """
        with self.catalog.read() as session:
            return self._version_of(self._find(session, ref))

    def remove(self, ref: VersionRef | str) -> Version:
        """Remove a version, and its files if no other version has the same content.

        Raises:
            Conflict: a deployment serves it, or would roll back to it.
        """
        with self.contents.lock:
            with self.catalog.write() as session:
                row = self._find(session, ref)
                version = self._version_of(row)
                _refuse_if_deployed(session, row)
                self.contents.note(version.sha256, removal=True)
                session.delete(row)
                self.catalog.changed(session)
                session.flush()
                shared = session.scalar(select(VersionRow.id).where(VersionRow.sha256 == row.sha256).limit(1))
            if shared is None:
                self.contents.discard(version.sha256)
        if shared is not None:
            self.reports.remove(version)
        if self.contents.blobs:
            self._settle(version.sha256)
        else:
            self.contents.settled(version.sha256)
        return version

    def fetch(self, version: Version) -> Path:
        """Download a version's files to `version.path` if they are not there, and return that.

        Raises:
            BadAdapter: they are missing or altered at the store's URL.
            SourceUnavailable: it cannot be reached, and they are not on this machine.
        """
        return self.contents.fetch(version.sha256, version.manifest)

    def export(self, ref: VersionRef | str, folder: Path) -> Path:
        """Write a version as a plain PEFT folder with its manifest and a model card.

        Raises:
            BadAdapter: its files are gone or were altered.
            Conflict: `folder` exists and is not empty.
        """
        version = self.get(ref)
        self.fetch(version)
        return write_folder(version, folder, self._report(version))

    def _report(self, version: Version) -> dict[str, Any] | None:
        """Return a version's report, or None if there is none or it cannot be reached."""
        try:
            data = self.reports.read(version)
        except SourceUnavailable as error:
            log.warning("The card is written without the report of %s. %s", version.ref, error)
            return None
        return json.loads(data) if data else None

    def _record(self, name: str, sha256: str, manifest: Manifest) -> Version | None:
        """Write the row; None if the content at the store's URL was removed since it was published."""
        with self.catalog.write() as session:
            same = session.scalar(select(VersionRow).filter_by(name=name, sha256=sha256))
            if same is not None:
                return self._version_of(same)
            # The lock of `contents` is per machine; the catalog has one writer across machines. A content
            # that is published now stays until this row is visible: see _settle.
            if not self.contents.is_published(sha256):
                return None
            adapter = session.get(AdapterRow, name) or AdapterRow(name=name, last_number=0)
            adapter.last_number += 1
            session.add(adapter)
            session.flush()
            row = VersionRow(
                name=name,
                number=adapter.last_number,
                sha256=sha256,
                manifest=manifest.model_dump_json(),
                created=manifest.created,
            )
            session.add(row)
            self.catalog.changed(session)
            session.flush()
            return self._version_of(row)

    def _settle(self, *unused: str) -> None:
        """Remove contents without a row from the store's URL.

        Each is removed in a write transaction that finds no row for it. So a concurrent add of the same
        content, from any machine, either wrote its row before, and the content stays, or misses the content
        in its own write transaction and uploads it again. Only contents with a note of this home are removed.
        """
        try:
            for sha256 in {*unused, *self.contents.unsettled()}:
                with self.catalog.write() as session:
                    if session.scalar(select(VersionRow.id).filter_by(sha256=sha256).limit(1)) is None:
                        self.contents.withdraw(sha256)
                self.contents.settled(sha256)
        except SourceUnavailable as error:
            log.warning("Files without a version stay until a later add or removal. %s", error)

    def _sweep(self) -> None:
        if not self.contents.folder.is_dir():
            return
        with self.contents.try_lock() as held:
            if held:
                with self.catalog.read() as session:
                    used = set(session.scalars(select(VersionRow.sha256)))
                self.contents.sweep(used)


def _refuse_if_deployed(session: Session, row: VersionRow) -> None:
    for deployment in session.scalars(select(DeploymentRow)):
        ref = f"{row.name}@{row.number}"
        if deployment.stable_id == row.id:
            raise Conflict(f"{ref} is live in {deployment.name!r}. Deploy another version there first.")
        for kind, used in (("canary", deployment.canary_id), ("shadow", deployment.shadow_id)):
            if used == row.id:
                raise Conflict(
                    f"{ref} is the {kind} of {deployment.name!r}. Promote it, or roll it back, first."
                )
        if deployment.previous_id == row.id:
            raise Conflict(
                f"{ref} is what {deployment.name!r} would roll back to. Deploy there once more first."
            )
