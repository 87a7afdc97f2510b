"""A folder of archives at any URL that fsspec knows: `<url>/<name>/<name>@<N>.tar`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from hub.errors import BadRequest, Conflict, HubError, MissingExtra, NotFound, SourceUnavailable
from hub.files import replacing
from hub.names import VersionRef

__all__ = ["Depot", "opened", "shown_url"]

_S3 = ("s3", "s3a")


def shown_url(url: str) -> str:
    """Return a URL without its user and password."""
    scheme, found, rest = url.partition("://")
    return f"{scheme}{found}{rest.rpartition('@')[2] if '@' in rest.partition('/')[0] else rest}"


@contextmanager
def opened(url: str, mode: str) -> Iterator[IO[bytes]]:
    """Open a file at a URL or a local path; one that is written is visible once it is complete.

    Raises:
        BadRequest: it is no URL of a file system.
        MissingExtra: it is on S3, and s3fs is not installed.
        NotFound: there is no such file.
        SourceUnavailable: it cannot be reached, or denies access.
    """
    import fsspec

    if url.partition("://")[0] in _S3 and find_spec("s3fs") is None:
        raise MissingExtra.of(shown_url(url), "s3")
    try:
        path = url.removeprefix("file://")
        if "://" not in path and "w" in mode:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with replacing(Path(path), durable=True) as aside, aside.open("wb") as stream:
                yield stream
        else:
            with fsspec.open(url, mode) as stream:
                yield stream
    except HubError:
        raise
    except FileNotFoundError:
        raise NotFound(f"There is nothing at {shown_url(url)}.") from None
    except (ValueError, ImportError) as error:  # fsspec: an unknown protocol
        raise BadRequest(f"{shown_url(url)} is no URL that can be used: {error}.") from None
    except Exception as error:  # each file system raises the exceptions of its own library
        raise SourceUnavailable(f"{shown_url(url)} cannot be used: {type(error).__name__}.") from error


class Depot:
    """The archives at a URL."""

    def __init__(self, url: str) -> None:
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
        fs, root = self._file_system()
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

    def _file_system(self) -> tuple[Any, str]:
        import fsspec

        if self._url.partition("://")[0] in _S3 and find_spec("s3fs") is None:
            raise MissingExtra.of(self.shown, "s3")
        try:
            fs, root = fsspec.core.url_to_fs(self._url)
        except (ValueError, ImportError) as error:
            raise BadRequest(f"{self.shown} is no URL that can be used: {error}.") from None
        return fs, str(root).rstrip("/")
