"""Opens the data files of a source; a folder has some, or is read as a whole."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from hub.api import Table
from hub.data.read.encodings import encodable
from hub.data.read.sources import fetches, open_source, scheme_of
from hub.data.read.tables import FileFolder, is_url, open_folder, open_table, open_url, suffixes
from hub.errors import BadData
from hub.files import expanded
from hub.progress import Progress, silent
from hub.recipe.recipe import Data
from hub.registry.active import active
from hub.registry.kinds import READERS

__all__ = ["distinct_names", "files_of", "folder_of", "open_place"]


def files_of(location: str, folder: Path) -> Sequence[str | FileFolder]:
    """Return the files of a source: the source itself, or the contents of a folder.

    Raises:
        BadData: a folder has no readable file, or files of two kinds; or the source is empty.
    """
    if not location:
        raise BadData("The name of the file, folder or other source is empty.")
    path = folder / expanded(location)
    if (scheme_of(location) and (is_url(location) or fetches(scheme_of(location)))) or not path.is_dir():
        return [location]
    try:
        inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        places = list(_places(path, inside))
    except OSError as error:
        raise BadData(f"{path}: cannot be read: {error.strerror}.") from None
    if not places:
        endings = ", ".join([*suffixes(), *chain(*_folder_endings())])
        raise BadData(f"{path}: has no data file: no name ends in {endings}, with or without .gz.")
    if len(places) > 1:
        kinds = " and ".join(kind for kind, _ in places)
        raise BadData(f"{path}: has {kinds}. Name the files or a folder with one kind.")
    return places[0][1]


def _places(path: Path, inside: Sequence[Path]) -> Iterator[tuple[str, Sequence[str | FileFolder]]]:
    """Yield each kind of contents that a folder has, for people, and what to open for it."""
    if tables := [str(entry) for entry in inside if entry.is_file() and _is_table(entry.name)]:
        yield "data files", tables
    for endings in _folder_endings():
        key, named = f"folder:{endings[0]}", ", ".join(endings)
        if loose := tuple(entry for entry in inside if _ends(entry, endings)):
            yield f"{named} files", [FileFolder(path, loose, key)]
        below = (file for entry in inside if entry.is_dir() for file in _files_in(entry, endings))
        if found := tuple(below):
            yield f"{named} files in subfolders", [FileFolder(path, found, key)]


def _folder_endings() -> list[tuple[str, ...]]:
    """Return the endings of files whose folder is read as a whole, those of each reader together."""
    readers: dict[str, list[str]] = {}
    for key, spec in active().extensions.keys(READERS).items():
        if key.startswith("folder:"):
            readers.setdefault(spec.name, []).append(key.removeprefix("folder:"))
    return [tuple(endings) for endings in readers.values()]


def folder_of(place: str | FileFolder, folder: Path) -> Path | None:
    """Return the folder of a data file, below which its cells may name files; None if it has none."""
    if isinstance(place, FileFolder):
        return place.path
    if scheme_of(place) and (is_url(place) or fetches(scheme_of(place))):
        return None
    return (folder / expanded(place)).parent


def distinct_names(places: Iterable[str | FileFolder], folder: Path) -> dict[str | FileFolder, str]:
    """Return the paths, relative to `folder`, of places whose files have the same names as others; else "".

    The files of a folder that is read as a whole are named by their path in it.
    """
    paths = {place: encodable(_path_of(place, folder)) for place in places}
    names = Counter(name for _, name in {(path, _file_name(place)) for place, path in paths.items()})
    return {place: path if names[_file_name(place)] > 1 else "" for place, path in paths.items()}


def _file_name(place: str | FileFolder) -> str:
    return "" if isinstance(place, FileFolder) else re.split("[/:]", place)[-1].lower().removesuffix(".gz")


def _path_of(place: str | FileFolder, folder: Path) -> str:
    if isinstance(place, FileFolder):
        return os.path.relpath(place.path, folder)
    return place if folder_of(place, folder) is None else os.path.relpath(folder / place, folder)


@contextmanager
def open_place(
    place: str | FileFolder,
    folder: Path,
    data: Data,
    cache: Path,
    progress: Progress = silent,
    languages: tuple[str, str] | None = None,
) -> Iterator[Table]:
    """Open one item of `files_of` as a table; `data` says how to read it.

    `languages` is the pair to read from a multilingual file.

    Raises:
        BadData: the file is missing or does not have its format.
        SourceUnavailable: a download failed.
    """
    if isinstance(place, FileFolder):
        yield open_folder(place, data)
    elif is_url(place):
        yield open_url(place, data, languages)
    else:
        with open_source(place, folder, cache, progress) as file:
            yield open_table(file.name, file.stream, data, languages)


def _is_table(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(tuple(suffixes()))


def _files_in(folder: Path, endings: Collection[str]) -> list[Path]:
    if folder.name.startswith("."):
        return []
    return sorted(path for path in folder.iterdir() if _ends(path, endings))


def _ends(path: Path, endings: Collection[str]) -> bool:
    return path.is_file() and path.suffix.lower() in endings
