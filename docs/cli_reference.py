"""Generates docs/cli.md, the reference of commands, from the commands themselves.

python -m docs.cli_reference
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from hub.cli.main import app

__all__ = ["FILE", "commands", "markdown"]

FILE = Path(__file__).with_name("cli.md")

_ABOUT = """\
# Commands

Generated from the commands by `python -m docs.cli_reference`; `hub COMMAND --help` prints the same.

A command exits with 0 if it did what it should, with 1 and one line on standard error if it could not
([errors](errors.md)), and with 2 if it was called in a wrong way. With `--json`, standard output is one
JSON document, also if it is an error. `hub --version` prints the version; `hub --no-plugins COMMAND` loads
no plugin of a third party. Plugins can [add commands](plugins/commands.md).
"""


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Yield name, command and context of each command that is the hub's own, groups flattened."""
    root = typer.main.get_command(app)
    yield from _below(root, root.make_context("hub", [], resilient_parsing=True))


def _below(group: Any, context: Any) -> Iterator[tuple[str, Any, Any]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = type(context)(command, info_name=name, parent=context)
        if hasattr(command, "commands"):
            yield from _below(command, inner)
        else:
            yield inner.command_path, command, inner


def markdown() -> str:
    """Return the page: for each command its help, its usage and its options."""
    return "\n".join([_ABOUT, *(_section(*found) for found in commands())])


def _section(name: str, command: Any, context: Any) -> str:
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    records = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    rows = [f"| `{_cell(names)}` | {_cell(about)} |" for names, about in records if names != "--help"]
    table = ["| argument or option | meaning |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([f"## {name}", "", _prose(command.help or ""), "", "```text", usage, "```", "", *table])


def _prose(text: str) -> str:
    """Return the paragraphs of a help text on a line each, with `<` as text."""
    paragraphs = [re.sub(r"\s*\n\s*", " ", part.strip()) for part in text.split("\n\n")]
    return "\n\n".join(paragraphs).replace("<", "\\<")


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


if __name__ == "__main__":
    FILE.write_text(markdown(), encoding="utf-8")
