"""What does not change while tests run, found once for a process: half the time of a short command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache, cached_property
from importlib.metadata import Distribution, EntryPoint, EntryPoints, PathDistribution, distributions
from pathlib import Path

import typer.main
from packaging.utils import canonicalize_name

from hub.registry import discovery

__all__ = ["command_of", "find_once", "known_distributions", "known_entry_points"]

command_of = cache(typer.main.get_command)
# Other folders are of a test.
_INSTALLED = frozenset(path for path in sys.path if Path(path).is_absolute() and Path(path).is_dir())


def find_once() -> None:
    """Find all of it now, for this process and those that are forked from it."""
    import hub.cli.main
    from hub.registry.host import Registry

    typer.main.get_command = command_of
    command_of(hub.cli.main.app)
    discovery.entry_points = known_entry_points
    others = [one.id for one in discovery.find_plugins() if one.distribution not in discovery.BUILT_IN]
    Registry.load(others).check()


def known_distributions() -> Iterator[Distribution]:
    """Do what `importlib.metadata.distributions` does; folders that were there first are read once."""
    for folder in sys.path:
        if folder in _INSTALLED:
            yield from _known(folder, os.stat(folder).st_mtime_ns)
        else:
            yield from distributions(path=[folder])


def known_entry_points() -> EntryPoints:
    """Do what `importlib.metadata.entry_points` does, on `known_distributions`."""
    seen: set[str] = set()
    points: list[EntryPoint] = []
    for one in known_distributions():
        name = one.canonical if isinstance(one, _Known) else canonicalize_name(one.name or "")
        if name not in seen:  # of two on sys.path, the first counts
            seen.add(name)
            points += one.entry_points
    return EntryPoints(points)


class _Known(PathDistribution):
    """A distribution that parses its files once."""

    metadata = cached_property(PathDistribution.metadata.fget)  # type: ignore[assignment, attr-defined]
    entry_points = cached_property(PathDistribution.entry_points.fget)  # type: ignore[assignment, attr-defined]
    requires = cached_property(PathDistribution.requires.fget)  # type: ignore[assignment, attr-defined]

    @cached_property
    def canonical(self) -> str:
        return canonicalize_name(self.name or "")


@cache
def _known(folder: str, changed: int) -> list[_Known]:
    """Return the distributions of a folder to which something was last added at a time."""
    return [_Known(one._path) for one in distributions(path=[folder])]  # type: ignore[attr-defined]
