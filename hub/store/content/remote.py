"""Adapter files at an fsspec URL: `<url>/<sha256>/`, for replicas that share no disk."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hub.errors import BadAdapter, BadConfig, HubError, MissingExtra, SourceUnavailable
from hub.store.content.weights import CONFIG_FILE, WEIGHTS_FILE
from hub.store.manifest import MANIFEST_FILE

__all__ = ["MARKER", "Blobs"]

# Written last and removed first: a content without it does not exist, whatever else lies there.
MARKER = MANIFEST_FILE
DATA = (CONFIG_FILE, WEIGHTS_FILE)

_OWNERS = "owners"  # the folder beside a content with one file for each catalog that has it

# An operation on S3 ends after at most two timeouts; a slow but steady answer is not interrupted.
_CONNECT_S = 2.0
_READ_S = 4.0
_ATTEMPTS = 2
# For any file system: the timeout of a call, and the lowest upload speed that is waited for.
_CALL_S = 10.0
_BYTES_PER_S = 250_000
_DOWNLOAD_S = 300.0
_S3 = ("s3", "s3a")


class Blobs:
    """The contents at one URL; imported and opened at the first call.

    Every call raises SourceUnavailable within seconds if the URL cannot be reached or denies access.

    Raises:
        BadConfig: `url` is not a URL.
        MissingExtra: it is on S3, and s3fs is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self.shown = _without_secrets(self._url)
        self._lock = threading.Lock()
        self._opened: tuple[Any, str] | None = None
        protocol, found, _ = url.partition("://")
        if not found or not protocol:
            raise BadConfig(
                f"store.blobs: {self.shown!r} is no URL such as s3://bucket/hub or file:///srv/hub."
            )
        if protocol in _S3 and find_spec("s3fs") is None:
            raise MissingExtra.of(f"store.blobs = {self.shown!r}", "s3")

    def put(self, sha256: str, files: Mapping[str, bytes]) -> None:
        """Upload the content unless it exists intact; the marker is uploaded last."""
        if self._holds_intact(sha256, files):
            return
        for name in (*DATA, MARKER):
            self._write(sha256, name, files[name])

    def _holds_intact(self, sha256: str, files: Mapping[str, bytes]) -> bool:
        try:
            return self.holds(sha256, {name: len(files[name]) for name in DATA}) and all(
                self._read(sha256, name) == files[name] for name in DATA
            )
        except FileNotFoundError:  # another machine has begun to remove it
            return False

    def holds(self, sha256: str, sizes: Mapping[str, int]) -> bool:
        """Return whether the content is complete; `sizes` are expected file sizes."""
        try:
            found = {name: self._do("info", sha256, name)["size"] for name in (MARKER, *DATA)}
        except FileNotFoundError:
            return False
        return found.items() >= sizes.items()

    def get(self, sha256: str, folder: Path) -> None:
        """Download the two adapter files; the caller checks the hash.

        Raises:
            BadAdapter: the content does not exist there.
        """
        try:
            self._do("info", sha256, MARKER)
            for name in DATA:
                (folder / name).write_bytes(self._read(sha256, name))
        except FileNotFoundError:
            raise BadAdapter(
                f"{self.shown} has no complete content {sha256}. If store.blobs is right, import the adapter "
                "again from a copy (the same content takes its place), or train it again."
            ) from None

    def remove(self, sha256: str) -> None:
        """Remove the marker of the content, then its files; missing files are ignored."""
        for name in (MARKER, *DATA):
            with suppress(FileNotFoundError):
                self._do("rm_file", sha256, name)
        self.remove_beside(sha256)
        self._remove_folder(sha256)

    def own(self, sha256: str, owner: str) -> None:
        """Record a catalog as an owner of a content, before it adds the row."""
        self._write(sha256, f"{_OWNERS}/{owner}", b"1\n")

    def owners(self, sha256: str) -> set[str]:
        """Return the ids of the catalogs that own a content."""
        try:
            found = [str(path).rpartition(f"{sha256}/")[2] for path in self._do("find", sha256)]
        except FileNotFoundError:
            return set()
        return {name.removeprefix(f"{_OWNERS}/") for name in found if name.startswith(f"{_OWNERS}/")}

    def release(self, sha256: str, owner: str) -> None:
        """Remove a content if this catalog is its only owner.

        Another catalog may add it meanwhile: it records itself as an owner before it looks for the marker,
        and here the marker is removed before the owners are read again. So either it misses the marker and
        uploads, or it is seen here and the marker is restored.
        """
        owners = self.owners(sha256)
        if owner not in owners:
            return
        if owners == {owner}:
            try:
                marker = self._read(sha256, MARKER)
                self._do("rm_file", sha256, MARKER)
            except FileNotFoundError:
                marker = b""
            if self.owners(sha256) == {owner}:
                self.remove(sha256)
                return
            if marker:
                self._write(sha256, MARKER, marker)
        with suppress(FileNotFoundError):
            self._do("rm_file", sha256, _OWNERS, owner)

    def put_beside(self, sha256: str, name: str, data: bytes) -> None:
        """Write `folder/file` beside a content; it is not part of the hash and may be overwritten."""
        self._write(sha256, name, data)

    def get_beside(self, sha256: str, name: str) -> bytes | None:
        """Read `folder/file` beside a content, or None."""
        try:
            return self._read(sha256, name)
        except FileNotFoundError:
            return None

    def records(self, sha256: str, file: str) -> dict[str, bytes]:
        """Read the files named `file` in the folders beside a content, by folder."""
        try:
            found = [str(path).rpartition(f"{sha256}/")[2].split("/") for path in self._do("find", sha256)]
        except FileNotFoundError:
            return {}
        folders = [parts[0] for parts in found if len(parts) == 2 and parts[1] == file]
        return {folder: self._read(sha256, f"{folder}/{file}") for folder in folders}

    def remove_beside(self, sha256: str, folder: str = "") -> None:
        """Remove one folder beside a content, or all of them."""
        with suppress(FileNotFoundError):
            found = [str(path).rpartition(f"{sha256}/")[2] for path in self._do("find", sha256)]
            beside = [
                name for name in found if "/" in name and name.startswith(f"{folder}/" if folder else "")
            ]
            for name in beside:
                self._do("rm_file", sha256, name)
            for inner in {name.rpartition("/")[0] for name in beside}:
                self._remove_folder(f"{sha256}/{inner}")

    def _remove_folder(self, name: str) -> None:
        # Object stores have no folders, and some file systems refuse to remove one that is not empty.
        with suppress(OSError, NotImplementedError):
            fs, root = self._open()
            fs.rmdir(f"{root}/{name}")

    def names(self) -> list[str]:
        """List the contents, including incomplete ones."""
        try:
            listed = self._do("ls", detail=False)
        except FileNotFoundError:
            return []
        names = (str(path).rstrip("/").rpartition("/")[2] for path in listed)
        return [name for name in names if re.fullmatch("[0-9a-f]{64}", name)]

    def _read(self, sha256: str, name: str) -> bytes:
        data: bytes = self._do("cat_file", sha256, name, limit_s=_DOWNLOAD_S)
        return data

    def _write(self, sha256: str, name: str, data: bytes) -> None:
        limit_s = _CALL_S + len(data) / _BYTES_PER_S
        try:
            self._do("pipe_file", sha256, name, data=data, limit_s=limit_s)
        except FileNotFoundError:
            try:
                # The file's folder alone: where the bucket is misspelt or a share is not mounted,
                # no other shall come into being.
                folders = [sha256, *name.split("/")[:-1]]
                for depth in range(len(folders)):
                    with suppress(FileExistsError):
                        self._do("mkdir", *folders[: depth + 1], create_parents=False)
                self._do("pipe_file", sha256, name, data=data, limit_s=limit_s)
            except FileNotFoundError as error:
                raise self._unavailable(error, "Make that bucket or folder first.") from error

    def _do(
        self,
        method: str,
        *path: str,
        data: bytes | None = None,
        limit_s: float = _CALL_S,
        **options: Any,
    ) -> Any:
        """Call the file system; FileNotFoundError is raised unchanged."""
        try:
            fs, root = self._open()
            if fs.async_impl:
                options["timeout"] = limit_s
            given = () if data is None else (data,)
            return getattr(fs, method)("/".join((root, *path)), *given, **options)
        except (FileNotFoundError, FileExistsError, HubError):
            raise
        except Exception as error:  # each file system raises the exceptions of its own library
            raise self._unavailable(error) from error

    def _open(self) -> tuple[Any, str]:
        with self._lock:
            if self._opened is None:
                self._opened = _file_system(self._url, self.shown)
            return self._opened

    def _unavailable(self, error: Exception, advice: str = "") -> SourceUnavailable:
        said = _without_secrets(str(error).strip().rstrip(".")) or type(error).__name__
        advice = advice or "Check the address, the network and the credentials, and try again."
        return SourceUnavailable(f"Adapter files at {self.shown} cannot be reached: {said}. {advice}")


def _file_system(url: str, shown: str) -> tuple[Any, str]:
    """Open the file system of `url`, without a cache of listings."""
    from fsspec.config import conf
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {"skip_instance_cache": True}
    protocol = url.partition("://")[0]
    if protocol in _S3:
        options["use_listings_cache"] = False
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_S,
            "read_timeout": _READ_S,
            "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
            **conf.get("s3", {}).get("config_kwargs", {}),
        }
    try:
        fs, root = url_to_fs(url, **options)
    except ImportError as error:
        raise MissingExtra(f"store.blobs = {shown!r}: {error}. Install that package.") from error
    except ValueError as error:
        raise BadConfig(f"store.blobs = {shown!r}: {_without_secrets(str(error))}.") from error
    if protocol in _S3:
        fs.retries = 1  # in addition to the attempts above
    return fs, str(root).rstrip("/")


def _without_secrets(text: str) -> str:
    """Remove user names, passwords and signatures from URLs."""
    return re.sub(r"(://)[^/@\s]*@|\?[^\s\"']*", r"\1", text)
