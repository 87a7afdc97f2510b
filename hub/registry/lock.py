"""`plugins.lock`: the installed plugins and their libraries, with hashes of wheels and files."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from hub.errors import BadConfig
from hub.files import write_file

__all__ = ["LOCK_FILE", "LockedPackage", "digest", "files_digest", "hash_of", "read_lock", "write_lock"]

LOCK_FILE = "plugins.lock"
FORMAT = 1
_WRITTEN_BY_INSTALLERS = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json"})


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One distribution: its canonical name, and the wheel that was installed.

    `files` is the digest of its files, see `digest`. `built`: the wheel was built here, from a folder or an
    sdist. `kept`: the wheel is in the state folder, because no package index has it.
    """

    name: str
    version: str
    wheel: str
    sha256: str
    files: str
    plugin: bool
    built: bool
    kept: bool


def read_lock(home: Path | None) -> dict[str, LockedPackage]:
    """Return the locked distributions by name; {} if nothing was locked.

    Raises:
        BadConfig: the file is damaged, or of a later version of the hub.
    """
    if home is None:
        return {}
    path = home / LOCK_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError
        packages = [LockedPackage(**one) for one in found["packages"]]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        raise BadConfig(
            f"{path} is damaged, or was written by a later version. Put a copy back, or delete it and run: "
            "hub plugins lock"
        ) from None
    return {package.name: package for package in packages}


def write_lock(home: Path, packages: Iterable[LockedPackage]) -> None:
    """Replace the file; creates the state folder."""
    home.mkdir(parents=True, exist_ok=True)
    listed = [asdict(package) for package in sorted(packages, key=lambda package: package.name)]
    text = json.dumps({"format": FORMAT, "packages": listed}, indent=2)
    write_file(home / LOCK_FILE, f"{text}\n", private=True, durable=True)


def hash_of(data: bytes) -> str:
    """Return the hash of a file as RECORD has it."""
    encoded = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={encoded}"


def digest(hashes: Iterable[tuple[str, str]]) -> str:
    """Return one hash for (path, hash) of files in site-packages, without what installers add.

    The same for a wheel and for what is installed from it.
    """
    kept = sorted(f"{path},{value}\n" for path, value in hashes if _is_content(PurePosixPath(path)))
    return hashlib.sha256("".join(kept).encode()).hexdigest()


def files_digest(distribution: Distribution) -> str:
    """Return the digest of the installed files, which are read; "" if some are missing or not recorded."""
    try:
        files = [file for file in distribution.files or () if _is_content(PurePosixPath(file))]
        hashes = [(file.as_posix(), hash_of(Path(str(file.locate())).read_bytes())) for file in files]
    except (OSError, TypeError, ValueError):  # the latter two: its RECORD is damaged
        return ""
    return digest(hashes) if hashes else ""


def _is_content(path: PurePosixPath) -> bool:
    if ".." in path.parts or path.is_absolute() or path.suffix == ".pyc":
        return False
    return not (path.parent.suffix == ".dist-info" and path.name in _WRITTEN_BY_INSTALLERS)
