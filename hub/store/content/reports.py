"""Reports of versions: files beside the weights of the content, in a folder named like the version.

They are not part of its hash, may be overwritten, and are removed with the version. With a URL they are
uploaded, and other machines fetch them from there.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from hub.errors import SourceUnavailable
from hub.files import write_file
from hub.store.content.content import Contents
from hub.store.records import Version

__all__ = ["CARD_FILE", "DATA_FILE", "PAGE_FILE", "Reports"]

log = logging.getLogger(__name__)

DATA_FILE, PAGE_FILE, CARD_FILE = "report.json", "report.html", "README.md"


class Reports:
    """The reports in one store."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def folder(self, version: Version) -> Path:
        """Return the path of a version's report, which may not exist."""
        return version.path / str(version.ref)

    def keep(self, version: Version, files: Mapping[str, str]) -> Path:
        """Write the files of a report, replacing earlier ones; return their folder.

        If the store's URL cannot be reached they stay on this machine only, with a warning.
        """
        folder = self.folder(version)
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            write_file(folder / name, text)
        if blobs := self._contents.blobs:
            try:
                for name, text in files.items():
                    blobs.put_beside(version.sha256, f"{version.ref}/{name}", text.encode())
            except SourceUnavailable as error:
                log.warning("The report of %s is on this machine alone. %s", version.ref, error)
        return folder

    def read(self, version: Version) -> str | None:
        """Return the JSON of a report, or None.

        Raises:
            BadAdapter, SourceUnavailable: the version is at the store's URL, and cannot be fetched.
        """
        kept = self.folder(version) / DATA_FILE
        if not kept.is_file() and (blobs := self._contents.blobs):
            data = blobs.get_beside(version.sha256, f"{version.ref}/{DATA_FILE}")
            if data is not None:
                self._contents.fetch(version.sha256, version.manifest)
                kept.parent.mkdir(exist_ok=True)
                write_file(kept, data)
        return kept.read_text(encoding="utf-8") if kept.is_file() else None

    def remove(self, version: Version) -> None:
        """Remove the report of a version whose content another version still uses."""
        shutil.rmtree(self.folder(version), ignore_errors=True)
        if blobs := self._contents.blobs:
            try:
                blobs.remove_beside(version.sha256, str(version.ref))
            except SourceUnavailable as error:
                log.warning("The report of %s, which was removed, stays. %s", version.ref, error)
