"""Third-party plugins for one test: fixtures, and the examples of the documentation."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.registry import active
from tests.support.environment import install_into

__all__ = ["FIXTURES", "Install", "install", "installing", "plugin_of", "write_page"]

FIXTURES = Path(__file__).parents[1] / "fixtures" / "plugins"
PAGES = Path(__file__).parents[2] / "docs" / "plugins"
BLOCK = re.compile(r"^```(\w+)\n# (\S+/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Install = Callable[..., Path]


@contextmanager
def installing(site: Path) -> Iterator[Install]:
    """Yield what installs plugins by the name of a fixture or by folder; Python forgets them at the end."""
    site.mkdir()
    before = set(sys.modules)

    def install(*plugins: str | Path) -> Path:
        for plugin in plugins:
            install_into(site, plugin if isinstance(plugin, Path) else FIXTURES / plugin)
        importlib.invalidate_caches()
        active._registries.clear()
        return site

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield install
    active._registries.clear()
    for name in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """Install plugins for one test."""
    with installing(tmp_path / "site") as install:
        yield install


def plugin_of(folder: Path, code: str, group: str = "hub.plugins.v1") -> Path:
    """Write a plugin of one module, `made`, that imports all of hub.api; return its folder."""
    made = folder / "made-plugin"
    made.mkdir()
    (made / "pyproject.toml").write_text(
        f'[project]\nname = "made"\nversion = "1.0"\n[project.entry-points."{group}"]\nmade = "made"\n'
    )
    (made / "made.py").write_text(f"from hub.api import *\nfrom hub.api import hookimpl\n{code}")
    return made


def write_page(page: str, folder: Path) -> Path:
    """Write the files of a page below docs/plugins; return the folder of its plugin, the first file's."""
    blocks = BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))
    for _, name, text in blocks:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder / blocks[0][1].split("/")[0]
