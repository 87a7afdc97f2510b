"""The site of the pages is built without a warning, and asks no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.cli_reference import commands

ROOT = Path(__file__).parents[2]
LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?([^\"'\s>]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; three seconds, most of them for the colours of code."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return folder


def test_every_page_is_built_and_loads_its_own_files_alone(site: Path) -> None:
    sources = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    built = {"index.html" if name == "README.md" else f"{name.removesuffix('.md')}.html" for name in sources}
    pages = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    assert built <= set(pages)
    for name, page in pages.items():
        loaded = LOADED.findall(page.read_text(encoding="utf-8"))
        assert loaded
        assert [link for link in loaded if re.match(r"\w+:|//", link)] == [], name
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"@import|url\([\"']?(?:https?:)?//", styles)


def test_diagrams_are_drawn_when_the_site_is_built(site: Path) -> None:
    """The theme would load a script for what has the class `mermaid`."""
    page = (site / "architecture.html").read_text(encoding="utf-8")
    assert page.count('<div class="diagram"><svg') == 3
    assert "hub/serving/routing/router.py" in page
    assert not [path for path in site.rglob("*.html") if 'class="mermaid"' in path.read_text("utf-8")]


def test_the_site_has_every_command(site: Path) -> None:
    page = (site / "cli.html").read_text(encoding="utf-8")
    assert [name for name, *_ in commands() if f'id="{name.replace(" ", "-")}"' not in page] == []
