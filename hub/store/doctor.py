"""Checks a store: rows without contents, contents without rows, gaps in the history."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from filelock import Timeout
from pydantic import ValidationError
from sqlalchemy import select, text

from hub.errors import HubError, first_problem
from hub.files import write_file
from hub.names import VersionRef
from hub.store.catalog.tables import DeploymentEventRow, DeploymentRow, GenerationRow, VersionRow
from hub.store.content.content import content_hash
from hub.store.identity import read_records
from hub.store.manifest import MANIFEST_FILE, Manifest
from hub.store.store import Store

__all__ = ["Finding", "Severity", "examine_store"]

LOCK_S = 10.0
_ROLES = ("stable", "previous", "canary", "shadow")


class Severity(StrEnum):
    """The severity of a finding; `info` needs no repair."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem that was found. `fix` repairs it without data loss; None if a person has to."""

    code: str
    where: str
    what: str
    severity: Severity
    remedy: str
    fix: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """A row of the table of versions."""

    ref: VersionRef
    sha256: str
    manifest: Manifest
    path: Path


def examine_store(store: Store) -> Iterator[Finding]:
    """Check the catalog, then the files and bases that its rows name; changes nothing.

    Every stored adapter is read once, to compare its hash.
    """
    damaged = list(_integrity(store))
    yield from damaged
    if damaged:
        return  # the other checks read the catalog
    yield from _history(store)
    versions, unreadable = _versions(store)
    yield from unreadable
    yield from _contents(store, versions)
    yield from _unnamed(store, {stored.sha256 for stored in versions.values()}, bool(unreadable))
    yield from _bases(store, versions)


def _integrity(store: Store) -> Iterator[Finding]:
    """Run SQLite's integrity check; a database server checks its own files."""
    if not store.catalog.is_file:
        return
    where = str(store.catalog.shown)
    remedy = "Stop the server, put a copy of the file back, and run `hub doctor` again."
    try:
        with store.catalog.read() as session:
            said = [str(row[0]) for row in session.execute(text("PRAGMA integrity_check"))]
            loose = [str(row[0]) for row in session.execute(text("PRAGMA foreign_key_check"))]
    except HubError as error:
        yield Finding("catalog_damaged", where, str(error), Severity.ERROR, remedy)
        return
    if said != ["ok"]:
        what = f"SQLite finds the file damaged: {said[0]}."
        yield Finding("catalog_damaged", where, what, Severity.ERROR, remedy)
    elif loose:
        what = f"Rows of {', '.join(sorted(set(loose)))} name rows that are not there."
        yield Finding("catalog_loose_rows", where, what, Severity.ERROR, remedy)


def _history(store: Store) -> Iterator[Finding]:
    """Compare the generation with the events: there is one for each number up to it."""
    where = str(store.catalog.shown)
    with store.catalog.read() as session:
        counter = session.scalars(select(GenerationRow.value)).one()
        events = set(session.scalars(select(DeploymentEventRow.generation)))
        last = set(session.scalars(select(DeploymentRow.generation)))
    newest = max(events | last, default=0)
    if counter < newest:
        what = f"The generation is {counter}, and the newest event is {newest}: no deploy can be recorded."
        remedy = f"--fix sets it to {newest}."
        yield Finding(
            "generation_behind", where, what, Severity.ERROR, remedy, partial(_raise_counter, store, newest)
        )
    elif lost := sorted((set(range(1, counter + 1)) | last) - events):
        what = f"The history lacks {len(lost)} of {counter} events, the first of them number {lost[0]}."
        remedy = "Serving goes on without them; a copy of the catalog may still have them."
        yield Finding("events_lost", where, what, Severity.WARNING, remedy)


def _raise_counter(store: Store, newest: int) -> None:
    with store.catalog.write() as session:
        counter = session.scalars(select(GenerationRow)).one()
        counter.value = max(counter.value, newest)


def _versions(store: Store) -> tuple[dict[int, _Stored], list[Finding]]:
    """Return the versions by row id, and a finding for each whose manifest cannot be read."""
    versions, findings = {}, []
    with store.catalog.read() as session:
        for row in session.scalars(select(VersionRow).order_by(VersionRow.name, VersionRow.number)):
            ref = VersionRef(row.name, row.number)
            try:
                manifest = Manifest.model_validate_json(row.manifest)
            except ValidationError as error:
                what = f"Its manifest in the catalog cannot be read: {': '.join(first_problem(error))}."
                remedy = "Put a copy of the catalog back: no command can list versions as it is."
                findings.append(Finding("manifest_damaged", str(ref), what, Severity.ERROR, remedy))
                continue
            versions[row.id] = _Stored(ref, row.sha256, manifest, store.contents.path(row.sha256))
    return versions, findings


def _contents(store: Store, versions: Mapping[int, _Stored]) -> Iterator[Finding]:
    """Compare each content with its hash; problems are checked again under the lock."""
    shared: set[str] = set()
    if blobs := store.contents.blobs:
        try:
            shared = set(blobs.names())
        except HubError as error:
            remedy = "Versions that are not on this machine yet cannot be loaded until it can be reached."
            yield Finding("blobs_unreachable", blobs.shown, str(error), Severity.WARNING, remedy)
            shared = {stored.sha256 for stored in versions.values()}
    ill = {stored.sha256: _illness(stored, shared) for stored in versions.values()}
    if not any(ill.values()):
        return
    try:
        with store.contents.lock.acquire(timeout=LOCK_S):
            again, _ = _versions(store)
            roles = _roles(store)
            for key, stored in again.items():
                if ill.get(stored.sha256) and (code := _illness(stored, shared)):
                    yield _ill(store, stored, code, roles.get(key, []))
    except Timeout:
        what = f"Another process holds the lock of the store for more than {LOCK_S:.0f} s."
        yield Finding("store_busy", str(store.contents.folder), what, Severity.INFO, "Run this again later.")


def _illness(stored: _Stored, shared: Collection[str]) -> str:
    """Return the code of a content's problem, or ""; `shared`: the contents at the store's URL."""
    elsewhere = stored.sha256 in shared
    if not stored.path.is_dir():
        return "" if elsewhere else "content_missing"
    try:
        sound = content_hash(stored.path, stored.manifest.serving) == stored.sha256
    except OSError:
        sound = False
    if not sound:
        return "copy_altered" if elsewhere else "content_altered"
    try:
        beside = Manifest.model_validate_json((stored.path / MANIFEST_FILE).read_bytes())
    except (OSError, ValidationError):
        return "manifest_lost"
    return "" if beside.serving == stored.manifest.serving else "manifest_lost"


def _ill(store: Store, stored: _Stored, code: str, roles: Sequence[str]) -> Finding:
    where = f"{stored.ref} ({stored.path})"
    if code == "manifest_lost":
        what = f"The {MANIFEST_FILE} beside its weights is gone or altered; the catalog has it."
        fix = partial(_write_manifest, store, stored)
        return Finding(code, where, what, Severity.WARNING, "--fix writes it again.", fix)
    if code == "copy_altered":
        what = "The copy on this machine does not have its hash any more."
        remedy = "Nothing: when it is loaded it is downloaded again; --fix does so now."
        fetch = partial(_fetch, store, stored)
        return Finding(code, where, what, Severity.INFO, remedy, fetch)
    gone = code == "content_missing"
    what = "Its files are gone." if gone else "Its files do not have their hash any more."
    needed = f" It is {' and '.join(roles)}." if roles else ""
    remedy = "Import it again from a copy (the same content takes its place), or train again and deploy that."
    return Finding(code, where, what + needed, Severity.ERROR, remedy)


def _fetch(store: Store, stored: _Stored) -> None:
    store.contents.fetch(stored.sha256, stored.manifest)


def _write_manifest(store: Store, stored: _Stored) -> None:
    with store.contents.lock.acquire(timeout=LOCK_S):
        if _illness(stored, ()) == "manifest_lost":
            write_file(stored.path / MANIFEST_FILE, stored.manifest.model_dump_json(indent=2) + "\n")


def _roles(store: Store) -> dict[int, list[str]]:
    """Return the roles of each version row in deployments: `stable of 'mood'`."""
    roles: dict[int, list[str]] = {}
    columns = [getattr(DeploymentRow, f"{role}_id") for role in _ROLES]
    with store.catalog.read() as session:
        for name, *ids in session.execute(select(DeploymentRow.name, *columns)):
            for role, key in zip(_ROLES, ids, strict=True):
                if key is not None:
                    roles.setdefault(key, []).append(f"the {role} version of {name!r}")
    return roles


def _unnamed(store: Store, named: set[str], partial_view: bool) -> Iterator[Finding]:
    """Report contents without a row: of unfinished adds and removals, and of a lost catalog."""
    what = "No version has this content. An import or a removal was stopped midway, or one runs right now."
    for path in [] if partial_view else store.contents.unknown(named):
        if store.contents.is_noted(path.name):
            yield Finding("content_unnamed", str(path), what, Severity.INFO, _LATER.format("an hour"))
        else:
            yield _unknown(path)
    for path in sorted(store.contents.folder.glob(".incoming-*")):
        copy = "A private copy of an import or a backup that was stopped midway, or that runs right now."
        yield Finding("content_unfinished", str(path), copy, Severity.INFO, _LATER.format("a day"))


def _unknown(path: Path) -> Finding:
    """Report a content that this catalog does not have; nothing removes it automatically."""
    refs = [str(record.ref) for record in read_records(path)]
    what = f"The catalog does not have this content{', which was ' + ' and '.join(refs) if refs else ''}."
    remedy = "`hub doctor --adopt` adds it to the catalog. If nothing needs it, remove the folder."
    return Finding("content_unknown", str(path), what, Severity.WARNING, remedy)


_LATER = "Nothing: any command removes it once it is {} old."


def _bases(store: Store, versions: Mapping[int, _Stored]) -> Iterator[Finding]:
    """Report bases that deployments need and that are missing on this machine."""
    try:
        here = {base.fingerprint for base in store.bases.list()}
    except HubError as error:
        remedy = "Remove that folder and pull the base again."
        yield Finding("base_damaged", str(store.bases.folder), str(error), Severity.ERROR, remedy)
        return
    lacking: dict[str, tuple[_Stored, list[str]]] = {}
    for key, roles in _roles(store).items():
        if (stored := versions.get(key)) and stored.manifest.serving.base.fingerprint not in here:
            _, all_roles = lacking.setdefault(stored.manifest.serving.base.fingerprint, (stored, []))
            all_roles += [f"{stored.ref}, {role}" for role in roles]
    for stored, roles in lacking.values():
        base = stored.manifest.serving.base
        needed = "; ".join(roles)
        what = f"The base {base.name!r} ({base.fingerprint[:12]}) is not here, and needed: {needed}."
        yield Finding(
            "base_missing", str(store.bases.folder), what, Severity.ERROR, f"hub base pull {base.source}"
        )
