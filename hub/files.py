"""Atomic and durable writes: write beside the target, fsync, rename."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub.errors import Conflict

__all__ = ["PART", "expanded", "is_older", "move_folder", "new_folder", "replacing", "sync", "write_file"]

PART = ".part"  # ends the names of files and folders that are not complete


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, *, private: bool = False, durable: bool = False) -> Iterator[Path]:
    """Yield an empty file beside `path`; it replaces `path` if the block succeeds, else it is removed.

    `private`: only the owner can read it. `durable`: contents and rename are flushed to disk.
    """
    aside = _aside(path)
    os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666))
    try:
        yield aside
        if durable:
            sync(aside)
        aside.replace(path)
        if durable:
            sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_file(path: Path, data: str | bytes, *, private: bool = False, durable: bool = False) -> None:
    """Replace a file as a whole, text as UTF-8; the options are those of `replacing`."""
    with replacing(path, private=private, durable=durable) as aside:
        aside.write_bytes(data.encode() if isinstance(data, str) else data)


def move_folder(folder: Path, target: Path) -> None:
    """Flush the files of a folder to disk and rename it to `target`, in the same file system."""
    for path in (*folder.iterdir(), folder):
        sync(path)
    folder.rename(target)
    sync(target.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder` that takes its place if the block succeeds, else it is removed.

    Raises:
        Conflict: `folder` exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not empty. Choose another folder.")
    final = folder.absolute()  # "." has no name
    aside = _aside(final)
    aside.mkdir(parents=True)
    try:
        yield aside
        for path in aside.iterdir():
            if path.is_file():
                path.chmod(0o644)  # libraries create some files with mode 0600
        aside.replace(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def expanded(text: str) -> Path:
    """Return a path; `~` or `~user` at its start is replaced as by a shell, which leaves unknown users."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_older(path: Path, than: float) -> bool:
    """Return whether a file or folder was changed before a time; False if another process has removed it."""
    try:
        return path.stat().st_mtime < than
    except FileNotFoundError:
        return False


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
