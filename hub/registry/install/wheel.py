"""Reads a wheel without installing it: its name, version, entry points and hashes."""

from __future__ import annotations

import configparser
import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from packaging.metadata import Metadata
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from hub.errors import BadPlugin
from hub.registry.discovery import GROUPS
from hub.registry.lock import digest, hash_of

__all__ = ["WheelFile"]

_RELOCATED = re.compile(r"[^/]+\.data/(?:purelib|platlib)/(.+)")
_ELSEWHERE = re.compile(r"[^/]+\.data/")


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A wheel; `files` is the digest of what it installs, see `hub.registry.lock.digest`."""

    path: Path
    name: str
    version: str
    sha256: str
    files: str
    is_plugin: bool

    @classmethod
    def read(cls, path: Path) -> WheelFile:
        """Read a wheel.

        Raises:
            BadPlugin: it is damaged, or its metadata does not match its file name.
        """
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
            with zipfile.ZipFile(path) as archive:
                hashes = {item: hash_of(archive.read(item)) for item in archive.namelist() if item[-1] != "/"}
                info = next(item for item in hashes if item.endswith(".dist-info/METADATA"))
                metadata = Metadata.from_email(archive.read(info), validate=False)
                points = info.replace("METADATA", "entry_points.txt")
                groups = _groups(archive.read(points).decode()) if points in hashes else set()
            if canonicalize_name(metadata.name) != name or metadata.version != version:
                raise ValueError(f"its metadata are of {metadata.name} {metadata.version}")
        except InvalidWheelFilename as error:
            raise BadPlugin(f"{path.name} is not the file name of a wheel: {error}.") from None
        except StopIteration:
            raise BadPlugin(f"{path.name} is not a wheel: it has no METADATA.") from None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, configparser.Error) as error:
            raise BadPlugin(f"The wheel {path.name} cannot be read: {error}.") from None
        return cls(
            path,
            str(name),
            str(version),
            hashlib.sha256(path.read_bytes()).hexdigest(),
            digest(_installed(hashes)),
            is_plugin=not groups.isdisjoint(GROUPS),
        )


def _groups(text: str) -> set[str]:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.read_string(text)
    return set(parser.sections())


def _installed(hashes: dict[str, str]) -> list[tuple[str, str]]:
    """Return the files that go to site-packages, by their paths there."""
    found = []
    for path, value in hashes.items():
        if match := _RELOCATED.fullmatch(path):
            found.append((match[1], value))
        elif not _ELSEWHERE.match(path):
            found.append((path, value))
    return found
