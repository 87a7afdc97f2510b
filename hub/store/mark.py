"""The mark `<home>/adapters/.catalog.json`: the id and change count of the catalog of these contents.

It detects an empty catalog, another one, or an older copy, which would lack contents: it is written after
every change of the catalog, and compared when a store is opened.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from hub.files import write_file

__all__ = ["FILE", "CatalogMark", "CatalogState"]

log = logging.getLogger(__name__)

FILE = ".catalog.json"


@dataclass(frozen=True, slots=True)
class CatalogState:
    """The random id of a catalog, and its number of changes of versions and deployments."""

    catalog: str
    changes: int


class CatalogMark:
    """The mark in a folder of contents."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def read(self) -> CatalogState | None:
        """Return the mark; None if it is missing or cannot be read."""
        try:
            found = json.loads(self.path.read_bytes()[:1000])
            return CatalogState(str(found["catalog"]), int(found["changes"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("%s cannot be read and is rewritten: %s", self.path, type(error).__name__)
            return None

    def advance(self, state: CatalogState) -> None:
        """Write a state, unless the mark has a later one of the same catalog."""
        self._write(state, force=False)

    def replace(self, state: CatalogState) -> None:
        """Write a state unconditionally."""
        self._write(state, force=True)

    def _write(self, state: CatalogState, *, force: bool) -> None:
        """Write the mark; the catalog has committed, so a failure is only logged."""
        try:
            with FileLock(self.path.with_name(f"{FILE}.lock")):
                found = self.read()
                later = found and found.catalog == state.catalog and found.changes >= state.changes
                if later and not force:
                    return
                write_file(self.path, json.dumps(asdict(state)) + "\n", durable=True)
        except OSError as error:
            log.warning("%s cannot be written: %s.", self.path, error.strerror or error)
