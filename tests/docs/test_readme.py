"""README.md is short, starts with the two commands, and shows commands, settings and pages that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer

from docs.picture import FILE, svg
from hub.cli.main import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = typer.main.get_command(app)


def lines_of(page: Path) -> list[str]:
    """Return the `hub ...` lines of a page's console and shell blocks, without comments."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```(?:console|sh|bash)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    parts = [
        part.strip()
        for line in joined.splitlines()
        for part in re.split(r"&&|;|\|", line.partition("  #")[0])
    ]
    return [part.removeprefix("$ ") for part in parts if part.removeprefix("$ ").startswith("hub ")]


OF_PLUGINS = ("hub greet ",)  # by the plugin of docs/plugins/commands.md
SHOWN = [
    (page.relative_to(ROOT).as_posix(), line)
    for page in PAGES
    for line in lines_of(page)
    if not line.startswith(OF_PLUGINS)
]


def test_the_picture_is_what_its_script_draws() -> None:
    assert FILE.read_text(encoding="utf-8") == svg(), "run: python -m docs.picture"
    assert ElementTree.fromstring(svg()).tag.endswith("svg")
    assert f"docs/{FILE.name}" in README


def test_the_readme_is_short_and_its_first_commands_are_two() -> None:
    assert len(README.splitlines()) <= 150
    first = re.search(r"```console\n(.*?)```", README, re.DOTALL)
    assert first
    assert [line.partition("#")[0].strip() for line in first[1].splitlines()] == [
        "make quickstart",
        "make test",
    ]


def test_every_page_that_is_linked_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([\w./-]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[f"{page}: {line[:40]}" for page, line in SHOWN])
def test_every_command_on_a_page_exists_with_its_options(page: str, line: str) -> None:
    words = shlex.split(line.partition(" #")[0].rstrip("& "))[1:]
    command = COMMANDS
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), f"{line}: {words[:1]} is no command"
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {
        "--help"
    }
    given = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)}
    assert given <= known, f"{line}: no option {sorted(given - known)}"


def test_there_are_commands_on_the_pages() -> None:
    assert len(SHOWN) > 30
