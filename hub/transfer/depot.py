"""A folder of archives at any URL that fsspec knows: `<url>/<name>/<name>@<N>.tar`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from hub.errors import BadRequest, Conflict, HubError, MissingExtra, NotFound, SourceUnavailable
from hub.files import PART, replacing
from hub.names import VersionRef

__all__ = ["OBJECT_STORES", "Depot", "file_system", "opened", "protocols", "shown_url"]

_S3 = ("s3", "s3a")
OBJECT_STORES = frozenset({*_S3, "gs", "gcs", "az", "abfs", "abfss", "oss"})
"""They have no folders, and an upload is there once it is whole."""


def shown_url(url: str) -> str:
    """Return a URL without its user and password."""
    scheme, found, rest = url.partition("://")
    return f"{scheme}{found}{rest.rpartition('@')[2] if '@' in rest.partition('/')[0] else rest}"


@contextmanager
def opened(url: str, mode: str, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a file at a URL or a local path; one that is written is there as a whole or not at all.

    `private`: only the owner can read a local one.

    Raises:
        BadRequest: it is no URL of a file system, or a folder is to be written.
        MissingExtra: it is on S3, and s3fs is not installed.
        NotFound: there is no such file.
        SourceUnavailable: it cannot be reached, or denies access.
    """
    path = url.removeprefix("file://")
    if "://" in path:
        with _opened_remote(url, mode) as stream:
            yield stream
    elif "w" in mode:
        if Path(path).is_dir():  # of "" as well
            raise BadRequest(f"{path or 'An empty path'} is a folder. Name a file.")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path), private=private, durable=True) as aside, aside.open("wb") as stream:
            yield stream
    else:
        if not Path(path).is_file():
            raise NotFound(f"There is no file {path}.")
        with Path(path).open("rb") as stream:
            yield stream


@contextmanager
def _opened_remote(url: str, mode: str) -> Iterator[IO[bytes]]:
    """Open a file; what is at the URL stays as it was unless the block succeeds."""
    fs, path = file_system(url)
    try:
        with _written(fs, path, mode) if "w" in mode else fs.open(path, mode) as file:
            yield file
    except HubError:
        raise
    except FileNotFoundError:
        raise NotFound(f"There is nothing at {shown_url(url)}.") from None
    except Exception as error:  # each file system raises the exceptions of its own library
        raise SourceUnavailable(f"{shown_url(url)} cannot be used: {type(error).__name__}.") from error


@contextmanager
def _written(fs: Any, path: str, mode: str) -> Iterator[IO[bytes]]:
    """Open a remote file; what is at `path` stays as it is until the new one is whole."""
    uploads = bool(protocols(fs) & OBJECT_STORES)
    place = path if uploads else f"{path}.{token_hex(4)}{PART}"
    file = fs.open(place, mode)
    try:
        yield file
        file.close()
        if place != path:
            fs.mv(place, path)
    except BaseException:
        with suppress(Exception):
            if uploads:
                _give_up(file)
            else:
                file.close()
                fs.rm_file(place)
        raise


def _give_up(upload: Any) -> None:
    """End an upload without its result: closing it would store what there was."""
    try:
        upload.discard()
    finally:
        upload.closed = True


def protocols(fs: Any) -> set[str]:
    """Return the names of a file system, as they are in URLs."""
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    Raises:
        BadRequest: it is no URL of a file system.
        MissingExtra: it is on S3, and s3fs is not installed.
    """
    import fsspec

    if url.partition("://")[0] in _S3 and find_spec("s3fs") is None:
        raise MissingExtra.of(shown_url(url), "s3")
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise BadRequest(f"{shown_url(url)} is no URL that can be used: {error}.") from None
    return fs, str(path).rstrip("/")


class Depot:
    """The archives at a URL.

    Raises:
        BadRequest: the URL is empty.
    """

    def __init__(self, url: str) -> None:
        if not url:
            raise BadRequest("The URL of the folder is empty.")
        self._url = url.rstrip("/")
        self.shown = shown_url(self._url)

    @contextmanager
    def writing(self, ref: VersionRef, *, replace: bool = False) -> Iterator[IO[bytes]]:
        """Open the archive of a version for writing.

        Raises:
            Conflict: there is one, and `replace` is False.
        """
        url = self._path(ref)
        if not replace and self._exists(url):
            raise Conflict(
                f"{shown_url(url)} exists. A version never changes: give --replace if it was damaged."
            )
        with opened(url, "wb") as stream:
            yield stream

    @contextmanager
    def reading(self, ref: VersionRef) -> Iterator[IO[bytes]]:
        """Open the archive of a version; without a number, the newest.

        Raises:
            NotFound: it is not there; lists what is.
        """
        number = ref.number or max(self.numbers(ref.name), default=0)
        if number not in self.numbers(ref.name):
            known = ", ".join(f"{ref.name}@{one}" for one in self.numbers(ref.name)) or "none of that name"
            raise NotFound(f"{self.shown} has no {ref}. It has: {known}.")
        with opened(self._path(VersionRef(ref.name, number)), "rb") as stream:
            yield stream

    def numbers(self, name: str) -> list[int]:
        """Return the numbers of the versions of a name."""
        fs, root = file_system(self._url)
        try:
            found = fs.ls(f"{root}/{name}", detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise SourceUnavailable(f"{self.shown} cannot be used: {type(error).__name__}.") from error
        files = (str(path).rstrip("/").rpartition("/")[2] for path in found)
        matches = (re.fullmatch(rf"{re.escape(name)}@([0-9]{{1,9}})\.tar", file) for file in files)
        return sorted(int(match[1]) for match in matches if match)

    def _path(self, ref: VersionRef) -> str:
        return f"{self._url}/{ref.name}/{ref}.tar"

    def _exists(self, url: str) -> bool:
        try:
            with opened(url, "rb") as stream:
                return bool(stream.read(1))
        except NotFound:
            return False
