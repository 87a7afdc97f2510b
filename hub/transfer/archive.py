"""One version as a tar file: its record, its manifest and its PEFT files. Another hub needs the base besides.

Reading takes the expected members alone, each below a size, and never writes outside of the given folder.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from hub.errors import BadAdapter, HubError
from hub.names import check_name
from hub.store.card.folder import read_manifest
from hub.store.content.content import content_hash
from hub.store.content.weights import CONFIG_FILE, WEIGHTS_FILE
from hub.store.manifest import MANIFEST_FILE
from hub.store.records import Version
from hub.untrusted import parse_json

__all__ = ["ArchivedVersion", "is_plain", "read_archive", "write_archive"]

RECORD_FILE = "version.json"
FORMAT = 1
MAX_SMALL_BYTES = 32 << 20  # of a member that is not the weights
MAX_WEIGHTS_BYTES = 8 << 30
_LIMITS = {
    RECORD_FILE: MAX_SMALL_BYTES,
    CONFIG_FILE: MAX_SMALL_BYTES,
    MANIFEST_FILE: MAX_SMALL_BYTES,
    WEIGHTS_FILE: MAX_WEIGHTS_BYTES,
}
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchivedVersion:
    """The record of an archive: the version as its own hub named it, and its content hash."""

    name: str
    number: int
    sha256: str
    created: str
    format: int = FORMAT

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.number}"


def write_archive(version: Version, stream: IO[bytes]) -> ArchivedVersion:
    """Write a version whose files are on this machine.

    Raises:
        BadAdapter: they are missing or altered.
    """
    if content_hash(version.path, version.manifest.serving) != version.sha256:
        raise BadAdapter(f"The files of {version.ref} are missing or altered: see `hub doctor`.")
    record = ArchivedVersion(version.name, version.number, version.sha256, version.created.isoformat())
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, RECORD_FILE, json.dumps(asdict(record)).encode())
        _add(archive, MANIFEST_FILE, version.manifest.model_dump_json().encode())
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            archive.add(version.path / name, name, filter=_plain)
    return record


def read_archive(stream: IO[bytes], folder: Path) -> ArchivedVersion:
    """Unpack an archive into an empty folder, and compare its content with its hash.

    Raises:
        BadAdapter: it is no such archive, or was cut off or altered.
    """
    try:
        for name, size, member in members(stream, _LIMITS):
            if size > _LIMITS[name]:
                raise BadAdapter(f"{name} in the archive has {size:,} bytes; the limit is {_LIMITS[name]:,}.")
            _copy(member, folder / name)
        missing = [name for name in _LIMITS if not (folder / name).is_file()]
        if missing:
            raise BadAdapter(f"The archive has no {missing[0]}: it is no version of a hub.")
        record = _record((folder / RECORD_FILE).read_bytes())
        (folder / RECORD_FILE).unlink()
        serving = read_manifest(folder).serving
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadAdapter(f"The archive cannot be read ({type(error).__name__}).") from None
    if content_hash(folder, serving) != record.sha256:
        raise BadAdapter(f"The files of {record.ref} in the archive do not have the hash that it states.")
    return record


def members(stream: IO[bytes], names: Collection[str]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield the plain files of a tar file as it is read: name, size and content.

    Raises:
        BadAdapter: a member is not a plain file of `names`, or comes twice.
    """
    seen: set[str] = set()
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if is_plain(member) else None
            if member.name not in names or member.name in seen or content is None:
                raise BadAdapter(f"The archive has a member that no version has: {member.name[:80]!r}.")
            seen.add(member.name)
            yield member.name, member.size, content


def is_plain(member: tarfile.TarInfo) -> bool:
    """Return whether a member is a file of as many bytes as the archive has of it: a sparse one has more."""
    return member.isreg() and not member.issparse()


def _record(data: bytes) -> ArchivedVersion:
    try:
        value = parse_json(data)
        if value["format"] != FORMAT:
            raise BadAdapter(f"The archive has the format {value['format']!r}; this hub reads {FORMAT}.")
        return ArchivedVersion(
            check_name(value["name"], "adapter"),
            int(value["number"]),
            str(value["sha256"]),
            str(value["created"]),
        )
    except BadAdapter:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, HubError):
        raise BadAdapter(f"{RECORD_FILE} in the archive is not the record of a version.") from None


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out what is this machine's: owner, mode and time."""
    plain = tarfile.TarInfo(member.name)
    plain.size = member.size
    return plain


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("xb") as file:
        while block := source.read(_BLOCK):
            file.write(block)
