"""Content-addressed adapter folders: `<home>/adapters/<sha256>/`, each immutable.

With a URL, contents are stored there, and the folder is a cache of those that this machine used.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from hub.bases.sources import upstream
from hub.errors import BadAdapter
from hub.files import is_older, move_folder
from hub.store.content.remote import MARKER, Blobs
from hub.store.content.weights import CONFIG_FILE, WEIGHTS_FILE, find_weights, read_config, write_saved_names
from hub.store.manifest import MANIFEST_FILE, Manifest, Serving
from hub.store.records import Version

__all__ = ["RECORD_FILE", "Contents", "content_hash", "copy_verified", "is_content", "read_verified"]

RECORD_FILE = "version.json"  # in a folder named like the version: a copy of the catalog's row

_INCOMING = ".incoming-"
_NOTE = ".unsettled-"
_REMOVAL = "removal"
_ORPHAN_AGE = 3600.0  # seconds before something without a catalog row is removed
_COPY_AGE = 86400.0  # seconds before a private copy is: longer than a slow upload of it may take


class Contents:
    """The folder of adapter contents; the catalog records which of them are in use.

    The first write creates it: reading must not create a folder. `url`: where machines share contents, in any
    file system that fsspec supports.
    """

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.blobs = Blobs(url) if url else None
        self.owner = ""  # the catalog's id: at a URL, contents may be those of several catalogs
        self.lock = FileLock(folder / ".lock")  # acquiring it creates the folder

    def path(self, sha256: str) -> Path:
        """Return the path of a content, which may not be fetched yet."""
        return self.folder / sha256

    def fetch(self, sha256: str, manifest: Manifest) -> Path:
        """Return the folder of a content; with a URL, download it if the local copy is missing or altered.

        A download is verified in a private folder before it becomes visible.

        Raises:
            BadAdapter: it is not at the URL, or has another hash there.
            SourceUnavailable: the URL cannot be reached.
        """
        final = self.path(sha256)
        if self.blobs is None or content_hash(final, manifest.serving) == sha256:
            return final
        with self.private() as private:
            self.blobs.get(sha256, private)
            if content_hash(private, manifest.serving) != sha256:
                raise BadAdapter(
                    f"{self.blobs.shown}/{sha256} was altered or cut off after it was stored: its files do "
                    "not have the hash in the catalog. Import the adapter again from a copy, or train it."
                )
            with self.lock:
                return self.place(private, sha256, manifest)

    @contextmanager
    def incoming(self, source: Path, serving: Serving) -> Iterator[Path]:
        """Copy the two adapter files of `source` to a private folder, which is removed at the end.

        No other file is read and no symbolic link is followed, so the checked copy is what is stored.
        Tensors are stored under the names that PEFT gives them.
        """
        if not source.is_dir():
            raise BadAdapter(f"{source} is not a folder: an adapter is a PEFT folder.")
        with self.private() as private:
            find_weights(source)
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                _copy(source / name, private / name)
            write_saved_names(private)
            _name_base(private, serving)
            yield private

    @contextmanager
    def private(self) -> Iterator[Path]:
        """Make a private folder beside the contents, which is removed at the end."""
        private = self._aside()
        try:
            yield private
        finally:
            shutil.rmtree(private, ignore_errors=True)

    def publish(self, files: Path, sha256: str, manifest: Manifest) -> None:
        """With a URL, upload the content unless it is intact there.

        Raises:
            SourceUnavailable: the URL cannot be reached; no partial content is visible there.
        """
        if self.blobs:
            self.blobs.own(sha256, self.owner)  # before it is looked for: see Blobs.release
            self.blobs.put(sha256, {**_read_files(files), MARKER: _text(manifest).encode()})

    def is_published(self, sha256: str) -> bool:
        """Return whether the local content also exists at the URL, owned by this catalog; True without one.

        A removal that another machine had begun before `publish` may have taken the one and left the other.
        """
        if self.blobs is None:
            return True
        if self.owner not in self.blobs.owners(sha256):
            return False
        sizes = {name: (self.path(sha256) / name).stat().st_size for name in (CONFIG_FILE, WEIGHTS_FILE)}
        return self.blobs.holds(sha256, sizes)

    def place(self, private: Path, sha256: str, manifest: Manifest) -> Path:
        """Move a checked folder into place; call it under `lock`, before the catalog row is written."""
        final = self.path(sha256)
        if final.is_dir():
            if content_hash(final, manifest.serving) == sha256:
                return final
            for report in (path for path in final.iterdir() if path.is_dir()):
                report.rename(private / report.name)
            shutil.rmtree(final)  # altered since it was stored: replace it by the checked copy
        (private / MANIFEST_FILE).write_text(_text(manifest), encoding="utf-8")
        private.chmod(0o755)
        move_folder(private, final)
        return final

    def discard(self, sha256: str) -> None:
        """Remove a content that no catalog row uses; call it under `lock`."""
        aside = self._aside()
        if self.path(sha256).is_dir():
            self.path(sha256).rename(aside / sha256)
        shutil.rmtree(aside)

    def unknown(self, used: Collection[str]) -> list[Path]:
        """Return the contents that are not in `used`."""
        return sorted(path for path in self.all() if path.name not in used)

    def all(self) -> Iterator[Path]:
        """Yield the local contents."""
        return (path for path in self.folder.glob("*") if is_content(path))

    def sweep(self, used: Collection[str]) -> None:
        """Remove remains of a crash: old private copies, and contents of unfinished adds and removals.

        `used` are the contents in the catalog. Call it under `lock`: an add holds the lock from the rename to
        its row, so no content is between the two. A content without a row is removed only if a note marks
        it as unfinished; others belong to a lost catalog and stay.
        """
        now = time.time()
        oldest = now - _ORPHAN_AGE
        for path in self.folder.glob(f"{_INCOMING}*"):
            if path.is_dir() and is_older(path, now - _COPY_AGE):
                shutil.rmtree(path, ignore_errors=True)
        for note in self.folder.glob(f"{_NOTE}*"):
            sha256 = note.name.removeprefix(_NOTE)
            if sha256 not in used:
                if not is_older(note, oldest):
                    continue
                with suppress(FileNotFoundError):  # another process has just settled it
                    if note.read_text(encoding="utf-8") == _REMOVAL or not self.was_recorded(sha256):
                        shutil.rmtree(self.path(sha256), ignore_errors=True)
            if self.blobs is None:
                self.settled(sha256)

    def was_recorded(self, sha256: str) -> bool:
        """Return whether a version ever had this content: its record lies beside the weights."""
        return any(self.path(sha256).glob(f"*/{RECORD_FILE}"))

    def note(self, sha256: str, *, removal: bool = False) -> None:
        """Write a note that an add or removal of the content has begun."""
        (self.folder / f"{_NOTE}{sha256}").write_text(_REMOVAL if removal else "", encoding="utf-8")

    def is_noted(self, sha256: str) -> bool:
        """Return whether an add or removal of the content is unfinished."""
        return (self.folder / f"{_NOTE}{sha256}").exists()

    def settled(self, sha256: str) -> None:
        """Remove the note: rows and contents agree again."""
        (self.folder / f"{_NOTE}{sha256}").unlink(missing_ok=True)

    def unsettled(self) -> list[str]:
        """Return contents with an old note, left by a crash or an unreachable URL."""
        oldest = time.time() - _ORPHAN_AGE
        notes = [path for path in self.folder.glob(f"{_NOTE}*") if is_older(path, oldest)]
        return [path.name.removeprefix(_NOTE) for path in notes]

    def withdraw(self, sha256: str) -> None:
        """With a URL, remove a content there, unless another catalog owns it too.

        Call it in a write transaction that found no row for it.
        """
        if self.blobs:
            self.blobs.release(sha256, self.owner)

    def _aside(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self.folder))

    @contextmanager
    def try_lock(self) -> Iterator[bool]:
        """Acquire the lock if it is free and the folder can be written; yields whether it was acquired."""
        try:
            self.lock.acquire(timeout=0)
        except OSError:  # Timeout is one, too
            yield False
            return
        try:
            yield True
        finally:
            self.lock.release()


def is_content(path: Path) -> bool:
    """Return whether a path is a folder with the name of a content."""
    return re.fullmatch("[0-9a-f]{64}", path.name) is not None and path.is_dir()


def content_hash(folder: Path, serving: Serving) -> str:
    """Return the sha256 of config, weights and the canonical JSON of `serving`; "" if a file is missing."""
    if not all((folder / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE)):
        return ""
    return _hash(_read_files(folder), serving)


def _read_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (CONFIG_FILE, WEIGHTS_FILE)}


def read_verified(version: Version) -> dict[str, bytes]:
    """Return the adapter files of a version by name: read once, and compared with its hash.

    Raises:
        BadAdapter: a file is gone or was altered.
        OSError: a file cannot be read.
    """
    try:
        files = _read_files(version.path)
    except FileNotFoundError as error:
        raise BadAdapter(
            f"{version.ref}: {Path(error.filename).name} is gone from the store. Import or train it again."
        ) from None
    if _hash(files, version.manifest.serving) != version.sha256:
        raise BadAdapter(
            f"{version.ref} was altered after it was stored: its files do not have the hash in the catalog. "
            "Import or train it again."
        )
    return files


def copy_verified(version: Version, folder: Path) -> None:
    """Write the adapter files of a version to a private folder, from the bytes that were verified.

    Raises: as `read_verified`.
    """
    for name, data in read_verified(version).items():
        (folder / name).write_bytes(data)


def _hash(files: Mapping[str, bytes], serving: Serving) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        digest.update(len(files[name]).to_bytes(8, "little"))
        digest.update(files[name])
    canonical = json.dumps(serving.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    digest.update(canonical.encode())
    return digest.hexdigest()


def _text(manifest: Manifest) -> str:
    return manifest.model_dump_json(indent=2) + "\n"


def _copy(source: Path, target: Path) -> None:
    if source.is_symlink():
        raise BadAdapter(f"{source} is a symbolic link; copy the file itself there (cp -L) and try again.")
    if not source.is_file():
        raise BadAdapter(f"{source.parent} has no {source.name}: it is not a PEFT adapter folder.")
    shutil.copyfile(source, target, follow_symlinks=False)


def _name_base(folder: Path, serving: Serving) -> None:
    """Write the public name of the base to the PEFT config, instead of a path on the training machine."""
    config = read_config(folder)
    name = upstream(serving.base.source) or serving.base.name
    if config.get("base_model_name_or_path") != name:
        config["base_model_name_or_path"] = name
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
