"""Opens sources of rows: a file, what a reader fetches, a Hugging Face data set."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

from hub.api import FetchRequest, RawRow, SourceFile, Table
from hub.data.read.class_labels import named_features, with_names
from hub.data.read.encodings import readable
from hub.errors import BadData, BadPlugin, BadRequest, NotFound, SourceUnavailable
from hub.files import expanded
from hub.progress import Progress, silent
from hub.registry.active import active
from hub.registry.kinds import READERS
from hub.registry.loaded import extension_call
from hub.untrusted import open_regular

__all__ = ["fetches", "hub_table", "open_source", "scheme_of"]

MAX_BYTES = 4 << 30  # of one data file, unpacked
MAX_LINES = 20_000_000  # of one data file: as rows they take 10 GB or more of memory, and minutes to read
MAX_UNCHECKED_BYTES = 64 << 20  # unpacked at any ratio
MAX_UNPACK_RATIO = 200  # text compresses about 10 to 1, a decompression bomb 1000 to 1
_CHUNK_BYTES = 1 << 16
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
_HUB = re.compile(
    r"hf:(?P<id>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?:(?P<config>[^/:]+)/)?(?P<split>[^/:]+))?"
)


@contextmanager
def open_source(
    location: str, folder: Path, cache: Path, progress: Progress = silent
) -> Iterator[SourceFile]:
    """Open a local file (relative to `folder`) or one that a reader fetches, which may keep it in `cache`.

    Raises:
        BadData: the file does not exist, or the archive cannot be opened.
        SourceUnavailable: it could not be downloaded.
    """
    with ExitStack() as stack:
        try:
            if (scheme := scheme_of(location)) and fetches(scheme):
                name, stream = _fetched(location, scheme, FetchRequest(cache, progress), stack)
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


def scheme_of(location: str) -> str:
    """Return the scheme of a source, such as "hf:"; "" if it has none."""
    match = _SCHEME.match(location)
    return match[0] if match else ""


def fetches(scheme: str) -> bool:
    """Return whether a reader fetches a file for sources with this scheme."""
    spec = active().extensions.keys(READERS).get(scheme)
    return spec is not None and spec.fetches


def _fetched(location: str, scheme: str, request: FetchRequest, stack: ExitStack) -> tuple[str, IO[bytes]]:
    extensions = active().extensions
    spec, reader = extensions.keys(READERS)[scheme], extensions.get(READERS, scheme)
    with extension_call(READERS.word, spec.name, f"open_url() on {scheme}"):
        file = stack.enter_context(reader.open_url(location, request))
        if not isinstance(file, SourceFile):
            raise BadPlugin(f"Reader {spec.name!r} opened {type(file).__name__}, not a SourceFile.")
    return file.name.lower(), file.stream


def _local(location: str, folder: Path, stack: ExitStack) -> tuple[str, IO[bytes]]:
    path = folder / expanded(location)
    try:
        return path.name.lower(), stack.enter_context(open_regular(path))
    except OSError as error:
        raise BadData(f"{path}: cannot be read: {error.strerror}.") from None


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
