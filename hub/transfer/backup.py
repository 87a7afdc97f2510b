"""Backs up a hub as one tar file, and restores it: the catalog, and the files of every version.

The catalog is read in one snapshot, and contents are immutable and linked first; so a backup is consistent
while servers run and versions are deployed or removed. Bases are not part of it: they are pulled again from
where they came from. Neither are `hub.toml`, the admin key, uploaded files and training jobs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import hub
from hub.config import Settings
from hub.errors import BadAdapter, BadRequest, Conflict, HubError, NotFound
from hub.progress import Progress, silent
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.deployments import Deployments
from hub.store.content.content import content_hash, is_content
from hub.store.content.reports import CARD_FILE, DATA_FILE, PAGE_FILE
from hub.store.content.weights import CONFIG_FILE, WEIGHTS_FILE
from hub.store.identity import write_record
from hub.store.manifest import MANIFEST_FILE
from hub.store.records import Version
from hub.store.store import CATALOG_FILE, Store
from hub.transfer.archive import is_plain
from hub.transfer.rows import copy_rows
from hub.untrusted import parse_json

__all__ = ["Backup", "Restored", "back_up", "restore"]

FORMAT = 1
ABOUT_FILE = "backup.json"
SUMS_FILE = "sha256.json"  # the last member: hash of each file before it
MAX_ABOUT_BYTES = 64 << 20
_CONTENT = (CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE)
_BESIDE = (DATA_FILE, PAGE_FILE, CARD_FILE)
_REF = r"[a-z0-9][a-z0-9._-]{0,62}@[0-9]{1,9}"
_MEMBER = re.compile(
    rf"catalog\.db|backup\.json|sha256\.json|adapters/[0-9a-f]{{64}}/({'|'.join(map(re.escape, _CONTENT))}"
    rf"|{_REF}/({'|'.join(map(re.escape, _BESIDE))}))"
)
_BLOCK = 1 << 20
_TRIES = 3  # of a snapshot, while versions are removed


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds; `bases` are needed beside it."""

    release: str
    created: str
    versions: int
    deployments: int
    bytes: int
    bases: tuple[dict[str, str], ...]
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored backup, and the bases that are not on this machine yet."""

    backup: Backup
    missing: tuple[dict[str, str], ...]


def back_up(store: Store, stream: IO[bytes], progress: Progress = silent) -> Backup:
    """Write a backup of the store's catalog and contents; blocks.

    Raises:
        BadAdapter, SourceUnavailable: the files of a version are not intact, or cannot be fetched.
    """
    with TemporaryDirectory(prefix="hub-backup-") as folder, store.contents.private() as kept:
        snapshot = Path(folder) / CATALOG_FILE
        versions = _snapshot(store, snapshot, kept)
        about = _about(store, versions, snapshot)
        sums: dict[str, str] = {}
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add_bytes(archive, ABOUT_FILE, json.dumps(asdict(about)).encode(), sums)
            _add_file(archive, CATALOG_FILE, snapshot, sums)
            contents = {version.sha256: version for version in versions}
            for number, version in enumerate(contents.values(), 1):
                for path in _files(version):
                    _add_file(archive, f"adapters/{path.relative_to(version.path.parent)}", path, sums)
                progress("versions", number, len(contents))
            _add_bytes(archive, SUMS_FILE, json.dumps(sums).encode(), {})
    return about


def _snapshot(store: Store, target: Path, kept: Path) -> list[Version]:
    """Copy the catalog to a new SQLite file; return its versions, with their files below `kept`."""
    for attempt in range(1, _TRIES + 1):
        target.unlink(missing_ok=True)
        copy = Catalog(target)
        try:
            copy_rows(store.catalog, copy)
        finally:
            copy.close()
        with _opened(target, store) as copied:
            versions = copied.versions()
        try:
            return [_linked(store, version, kept / str(attempt)) for version in versions]
        except BadAdapter:
            if attempt == _TRIES:
                raise
    raise AssertionError("the last attempt returns or raises")


def _linked(store: Store, version: Version, folder: Path) -> Version:
    """Link the files of a version into a folder, where they stay when it is removed."""
    linked = replace(version, path=folder / version.sha256)
    if linked.path.is_dir():
        return linked  # another version has the same content
    try:
        store.fetch(version)
        for path in _files(version):
            _link(path, linked.path / path.relative_to(version.path))
    except FileNotFoundError:  # removed just now: the next snapshot is without it
        intact = False
    else:
        intact = content_hash(linked.path, version.manifest.serving) == version.sha256
    if not intact:
        raise BadAdapter(f"The files of {version.ref} are missing or altered: see `hub doctor`.")
    return linked


def _link(path: Path, target: Path) -> None:
    """Make a hard link, or a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


@contextmanager
def _opened(catalog: Path, store: Store) -> Iterator[Deployments]:
    """Open a copied catalog on the contents of a store."""
    copied = Catalog(catalog)
    try:
        yield Deployments(copied, store.contents)
    finally:
        copied.close()


def _about(store: Store, versions: list[Version], catalog: Path) -> Backup:
    bases = {version.manifest.serving.base.fingerprint: version.manifest.serving.base for version in versions}
    sizes = [path.stat().st_size for version in versions for path in _files(version)]
    return Backup(
        release=hub.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=len(versions),
        deployments=len(store.deployments()),
        bytes=sum(sizes) + catalog.stat().st_size,
        bases=tuple(base.model_dump() for base in bases.values()),
    )


def _files(version: Version) -> Iterator[Path]:
    yield from (path for name in _CONTENT if (path := version.path / name).is_file())
    for folder in sorted(version.path.iterdir()):
        if folder.is_dir() and re.fullmatch(_REF, folder.name):
            yield from (path for name in _BESIDE if (path := folder / name).is_file())


def restore(stream: IO[bytes], settings: Settings, progress: Progress = silent) -> Restored:
    """Restore a backup into an empty home, or an empty catalog that the settings name; blocks.

    Everything is unpacked aside and compared with its hashes before anything is kept.

    Raises:
        Conflict: there are versions or deployments already.
        BadAdapter: the backup was cut off or altered.
        BadRequest: it is of a newer release, or no backup.
    """
    _refuse_if_used(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".restore-", dir=settings.home) as aside:
        about = _unpack(stream, Path(aside), progress)
        source = Catalog(Path(aside) / CATALOG_FILE)
        try:
            with Store.of(settings, accept=True) as store:
                _place(Path(aside), source, store, progress)
                missing = [base for base in about.bases if not _is_here(store, base["fingerprint"])]
        finally:
            source.close()
    return Restored(about, tuple(missing))


def _refuse_if_used(settings: Settings) -> None:
    folder = settings.home / "adapters"
    if folder.is_dir() and any(is_content(path) for path in folder.glob("*")):
        raise Conflict(f"{folder} holds versions already. Restore into an empty home: HUB_HOME=FOLDER.")
    if settings.catalog.url or (settings.home / CATALOG_FILE).exists():
        with Store.of(settings, accept=True) as store:
            if store.versions() or store.deployments():
                raise Conflict(f"The catalog {store.catalog.shown} is not empty. Restore into a new one.")


def _unpack(stream: IO[bytes], folder: Path, progress: Progress) -> Backup:
    sums: dict[str, str] = {}
    stated: dict[str, str] | None = None
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive, 1):
                content = archive.extractfile(member) if is_plain(member) else None
                if content is None or not _MEMBER.fullmatch(member.name) or member.name in sums:
                    raise BadAdapter(f"The backup has a member that no backup has: {member.name[:80]!r}.")
                if member.name == SUMS_FILE:
                    stated = parse_json(content.read(MAX_ABOUT_BYTES))
                    continue
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                sums[member.name] = _copied(content, path)
                progress("files", number, 0)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadAdapter(f"The backup cannot be read ({type(error).__name__}).") from None
    if stated is None or ABOUT_FILE not in sums:
        raise BadAdapter("The backup is not complete: it was cut off, or is no backup of a hub.")
    if stated != sums:
        raise BadAdapter("The backup was altered: its files do not have the hashes that it states.")
    return _read_about((folder / ABOUT_FILE).read_bytes())


def _read_about(data: bytes) -> Backup:
    try:
        value: dict[str, Any] = parse_json(data)
        if value["format"] != FORMAT:
            raise BadRequest(f"The backup has the format {value['format']!r}; this release reads {FORMAT}.")
        return Backup(**{**value, "bases": tuple(dict(base) for base in value["bases"])})
    except (ValueError, TypeError, KeyError) as error:
        raise BadAdapter(f"{ABOUT_FILE} cannot be read ({type(error).__name__}).") from None


def _place(aside: Path, source: Catalog, store: Store, progress: Progress) -> None:
    """Put the contents in place, then the rows that name them."""
    with _opened(aside / CATALOG_FILE, store) as copied:
        versions = copied.versions()
    contents = {version.sha256: version for version in versions}
    for number, (sha256, version) in enumerate(contents.items(), 1):
        folder = aside / "adapters" / sha256
        if content_hash(folder, version.manifest.serving) != sha256:
            raise BadAdapter(f"The backup's files of {version.ref} do not have the hash in its catalog.")
        store.contents.note(sha256)
        store.contents.publish(folder, sha256, version.manifest)
        with store.contents.lock:
            store.contents.place(folder, sha256, version.manifest)
        progress("versions", number, len(contents))
    copy_rows(source, store.catalog)
    for version in store.versions():
        write_record(store.contents, store.contents.owner, version)
        store.contents.settled(version.sha256)


def _is_here(store: Store, fingerprint: str) -> bool:
    try:
        store.bases.by_fingerprint(fingerprint)
    except (NotFound, HubError):
        return False
    return True


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes, sums: dict[str, str]) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
    sums[name] = hashlib.sha256(data).hexdigest()


def _add_file(archive: tarfile.TarFile, name: str, path: Path, sums: dict[str, str]) -> None:
    with path.open("rb") as file:
        sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
        member = tarfile.TarInfo(name)
        member.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        archive.addfile(member, file)


def _copied(source: IO[bytes], target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("xb") as file:
        while block := source.read(_BLOCK):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
