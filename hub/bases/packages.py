"""Downloads a wheel or sdist with pip and reads its members without unpacking them to disk."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from hub.config import child_environment
from hub.errors import BadRequest, NotFound, SourceUnavailable, TooLarge
from hub.progress import Progress, silent

__all__ = ["extract_member", "fetch_package", "members", "open_member"]

MAX_MEMBER_BYTES = 20 << 30
_REQUIREMENT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_SIZE = re.compile(r"\(([0-9.]+) (B|bytes|kB|MB|GB)\)")
_UNITS = {"B": 1, "bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_CHUNK_BYTES = 1 << 20
# Most sdists build with setuptools, which is installed: skip pip's isolated build environment.
_NO_BUILD_ENVIRONMENT = {"wheel": (), "sdist": ("--no-build-isolation",)}
_POLL_S = 0.2
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)


def fetch_package(
    requirement: str,
    kind: Literal["wheel", "sdist"],
    folder: Path,
    *,
    sha256: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Download the one wheel or sdist of `dist==version` into `folder`, without dependencies.

    A wheel is only downloaded. For an sdist pip runs the package's build code to get its metadata, so pass
    `sha256` if it is known.

    Raises:
        BadRequest: `requirement` is not `dist==version`.
        SourceUnavailable: pip failed; the message has pip's reason.
    """
    if not _REQUIREMENT.fullmatch(requirement):
        raise BadRequest(f"{requirement[:120]!r} is not one package version: write dist==version.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pip-") as scratch:
        wanted = Path(scratch, "requirement.txt")
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n" if sha256 else f"{requirement}\n")
        got = Path(scratch, "got")
        only = "--only-binary=:all:" if kind == "wheel" else "--no-binary=:all:"
        command = ("download", "--no-deps", only, "--dest", str(got), "--requirement", str(wanted))
        try:
            _run_pip((*command, *_NO_BUILD_ENVIRONMENT[kind]), requirement, Path(scratch), progress)
        except SourceUnavailable:
            if kind == "wheel":
                raise
            _run_pip(command, requirement, Path(scratch), progress)
        files = [path for path in got.iterdir() if path.is_file()] if got.is_dir() else []
        if len(files) != 1:
            raise SourceUnavailable(f"pip downloaded {len(files)} files for {requirement} instead of one.")
        size = files[0].stat().st_size
        progress(f"download {requirement}", size, size)
        return files[0].replace(folder / files[0].name)


def members(archive: Path | IO[bytes]) -> list[str]:
    """Return the names of the regular files in a wheel, zip or tar archive.

    Raises:
        BadRequest: it is not such an archive.
    """
    with _opened(archive) as inside:
        if isinstance(inside, zipfile.ZipFile):
            return [info.filename for info in inside.infolist() if not info.is_dir()]
        return [info.name for info in inside.getmembers() if info.isfile()]


@contextmanager
def open_member(archive: Path | IO[bytes], member: str) -> Iterator[IO[bytes]]:
    """Open one file of a wheel, zip or tar archive for reading.

    `member` is the full name, or the name below an sdist's top folder. The archive may be an open file, so
    that nested archives can be read.

    Raises:
        NotFound: the member does not exist.
        BadRequest: it is not such an archive.
    """
    with _opened(archive) as inside:
        if isinstance(inside, zipfile.ZipFile):
            name = _locate([info.filename for info in inside.infolist()], member)
            with _opened_in(inside, name) as file:
                yield file
            return
        name = _locate([info.name for info in inside.getmembers() if info.isfile()], member)
        stream = inside.extractfile(name)
        if stream is None:
            raise NotFound(f"{member!r} in the archive is not a regular file.")
        with stream:
            yield stream


def extract_member(
    archive: Path | IO[bytes], member: str, target: Path, limit: int = MAX_MEMBER_BYTES
) -> Path:
    """Extract one file of an archive to `target`, regardless of its path in the archive.

    Raises:
        TooLarge: it unpacks to more than `limit` bytes; `target` is removed.
    """
    size = 0
    with open_member(archive, member) as source, target.open("xb") as sink:
        while (chunk := source.read(_CHUNK_BYTES)) and size <= limit:
            size += len(chunk)
            sink.write(chunk)
    if size > limit:
        target.unlink()
        raise TooLarge(f"{member!r} unpacks to more than {limit:,} bytes.")
    return target


@contextmanager
def _opened(archive: Path | IO[bytes]) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    label = archive.name if isinstance(archive, Path) else "the file inside the archive"
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                yield zipped
            return
        if not isinstance(archive, Path):
            archive.seek(0)
        source = {"name": archive} if isinstance(archive, Path) else {"fileobj": archive}
        with tarfile.open(**source, mode="r:*") as tarred:
            yield tarred
    except _BROKEN as error:
        raise BadRequest(f"{label} is not a wheel, zip or tar archive, or is damaged: {error}.") from None


def _opened_in(zipped: zipfile.ZipFile, name: str) -> IO[bytes]:
    try:
        return zipped.open(name)
    except RuntimeError as error:  # it is encrypted, or compressed in a way that Python does not know
        raise BadRequest(f"{name!r} in the archive cannot be read: {error}.") from None


def _locate(names: list[str], member: str) -> str:
    wanted = str(PurePosixPath(member))
    exact = [name for name in names if name == wanted]
    below = [name for name in names if "/" in name and name.split("/", 1)[1] == wanted]
    for found in (exact, below):
        if len(found) == 1:
            return found[0]
    raise NotFound.of("file in the archive", member, names)


def _run_pip(arguments: tuple[str, ...], what: str, scratch: Path, progress: Progress) -> None:
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    environment = {**child_environment(), "TMPDIR": str(scratch), "PIP_PROGRESS_BAR": "off"}
    log = scratch / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        while process.poll() is None:
            time.sleep(_POLL_S)
            progress(f"download {what}", *_downloaded(scratch, log))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise SourceUnavailable(f"pip could not download {what}: {_reason(log)}")


def _downloaded(scratch: Path, log: Path) -> tuple[int, int]:
    stated = _SIZE.findall(log.read_text(encoding="utf-8", errors="replace"))
    total = int(float(stated[-1][0]) * _UNITS[stated[-1][1]]) if stated else 0
    paths = (Path(folder, name) for folder, _, names in os.walk(scratch) for name in names)
    return min(max(map(_size, paths), default=0), total), total


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # pip has moved or removed it
        return 0


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (errors or [line for line in lines if line] or ["no output from pip"])[-1]
    if "No module named pip" in reason:
        return f"{reason}. Run: {sys.executable} -m ensurepip"
    unreached = any("Retrying (" in line for line in lines)
    return f"{reason} (the package index could not be reached)" if unreached else reason
