"""The local cache of bases, found by name or fingerprint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from hub.api import ImageInput, Pooling
from hub.bases.base import Base, BaseKind
from hub.bases.fingerprint import fingerprint, read_json
from hub.bases.inspect import check_model_folder, inspect_folder
from hub.bases.sources import KNOWN_POOLINGS, FolderSource, Source, parse_source
from hub.errors import BadBase, Conflict, NotFound
from hub.files import move_folder
from hub.names import check_name
from hub.progress import Progress, silent

__all__ = ["Bases"]

RECORD = "base.json"
_LOCKS = ".locks"
_PARTIAL = ".partial"
_PULL_HINT = "Get one with `hub base pull minilm`."


class Bases:
    """The folder `<home>/bases`: one subfolder per base, with the name of the base."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "bases"

    def list(self) -> list[Base]:
        """Return every base, by name."""
        if not self.folder.is_dir():
            return []
        return [_load(path.parent) for path in sorted(self.folder.glob(f"[a-z0-9]*/{RECORD}"))]

    def get(self, name: str) -> Base:
        """Return the base of that name.

        Raises:
            NotFound: lists the existing bases and how to pull one.
        """
        path = self.folder / check_name(name, "base")
        if not (path / RECORD).is_file():
            raise NotFound.of("base", name, (base.name for base in self.list()), _PULL_HINT)
        return _load(path)

    def by_fingerprint(self, fingerprint: str) -> Base:
        """Return a base with that fingerprint.

        Raises:
            NotFound: lists the existing bases.
        """
        bases = self.list()
        for base in bases:
            if base.fingerprint == fingerprint:
                return base
        known = ", ".join(f"{base.name} ({base.fingerprint[:12]})" for base in bases) or "none"
        raise NotFound(
            f"No base on this machine has the fingerprint {fingerprint[:12]}. Available: {known}. Pull the "
            "adapter's base with `hub base pull`; `hub adapters show` names it."
        )

    def pull(self, source: str, name: str | None = None, progress: Progress = silent) -> Base:
        """Pull a base from `source` (see `parse_source`) as `name`; an existing one is returned.

        The files are downloaded to a temporary folder, checked and renamed into place, so an interrupted
        pull leaves nothing; the next pull removes the files of a killed process.

        Raises:
            Conflict: the name is taken by a base from another source.
            SourceUnavailable: the download failed, or a pinned sha256 did not match.
            BadBase, UnsafeWeights: the files are not a usable base.
        """
        origin = parse_source(source)
        name = check_name(name or origin.name, "base")
        if here := self._pulled(name, origin):
            return here
        (self.folder / _LOCKS).mkdir(parents=True, exist_ok=True)
        self._sweep()
        with FileLock(self._lock(name)):
            if here := self._pulled(name, origin):
                return here
            with _staged(self.folder / f".{name}{_PARTIAL}") as staging:
                origin.fetch(staging, progress)
                _seal(staging, name, origin.spec)
                move_folder(staging, self.folder / name)
        return self.get(name)

    def _pulled(self, name: str, origin: Source) -> Base | None:
        path = self.folder / name
        if not path.exists():
            return None
        if not (path / RECORD).is_file():
            raise BadBase(f"{path} is not a base that was pulled here. Move it away and pull again.")
        base = _load(path)
        if base.source != origin.spec:
            raise Conflict(
                f"The base {name!r} was pulled from {base.source}. "
                f"Choose another name: hub base pull {origin.spec} --name NAME."
            )
        if isinstance(origin, FolderSource) and origin.differs_from(base.fingerprint):
            raise Conflict(
                f"{origin.path} has changed since it was pulled as {name!r}, and a base never changes. "
                "Pull it under another name with --name."
            )
        return base

    def _lock(self, name: str) -> Path:
        return self.folder / _LOCKS / name

    def _sweep(self) -> None:
        for partial in self.folder.glob(f".*{_PARTIAL}"):
            lock = FileLock(self._lock(partial.name[1:].removesuffix(_PARTIAL)), timeout=0)
            # A lock that is held belongs to a process that is pulling that base.
            with suppress(Timeout), lock:
                shutil.rmtree(partial, ignore_errors=True)


def _load(path: Path) -> Base:
    record = read_json(path / RECORD)
    try:
        return Base(
            name=path.name,
            source=record["source"],
            fingerprint=record["fingerprint"],
            kind=BaseKind(record["kind"]),
            model_type=record["model_type"],
            max_length=record["max_length"],
            path=path,
            image=_image(record.get("image")),
            pooling=_pooling(record),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadBase(
            f"{path / RECORD} is damaged ({error}). Remove {path} and pull the base again."
        ) from None


def _image(record: dict[str, Any] | None) -> ImageInput | None:
    return None if record is None else TypeAdapter(ImageInput).validate_python(record)


def _pooling(record: dict[str, Any]) -> Pooling | None:
    """Return the recorded pooling; of a base that was pulled before it was recorded, what is known of it."""
    if "pooling" not in record:
        return KNOWN_POOLINGS.get(record["source"])
    return None if record["pooling"] is None else Pooling(record["pooling"])


def _seal(folder: Path, name: str, source: str) -> None:
    check_model_folder(folder)
    facts = inspect_folder(folder)
    record = {"name": name, "source": source, "fingerprint": fingerprint(folder), **asdict(facts)}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed pull; the caller holds the lock
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
