"""Installs plugins for a test: their files and metadata in a folder on sys.path, as pip would leave them."""

from __future__ import annotations

import importlib
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures" / "plugins"


def put_in(site: Path, source: Path) -> None:
    """Copy a plugin's modules into `site` and write the metadata that installing it would write."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    for item in source.iterdir():
        if item.is_dir():
            shutil.copytree(item, site / item.name)
        elif item.suffix == ".py":
            shutil.copy(item, site)
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install fixture plugins by name; they are gone, and forgotten by Python, after the test."""
    site = tmp_path / "site"
    site.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(site)

    def install(*names: str) -> Path:
        for name in names:
            put_in(site, FIXTURES / name)
        importlib.invalidate_caches()
        return site

    yield install
    for name in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
