"""`hub init`: writes a workspace with a commented hub.toml and an example recipe."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin

import typer

from hub.cli.screen.output import JSON_FLAG, escape, print_json, say
from hub.errors import Conflict

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["config_text", "init"]

_EXAMPLE = Path(__file__).parent / "templates" / "example"
_HEAD = """\
# Settings of this GraftHub workspace. Each line "# name = value" shows a default: uncomment it to change
# it. A variable such as HUB_SERVE__PORT=8080 overrides this file, and a flag of a command overrides both.
# State (bases, adapters, the catalog) is in .hub beside this file, or in the folder HUB_HOME.
"""
_GITIGNORE = ".hub/\n"


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the workspace; created if absent.")] = Path("."),
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Create a workspace: hub.toml, and an example recipe with its data."""
    from hub.config import CONFIG_FILE

    config = folder / CONFIG_FILE
    if config.exists():
        raise Conflict(f"{config} exists: {folder.resolve()} is a workspace already.")
    target = folder / "adapters" / _EXAMPLE.name
    files = {target / path.name: path.read_text("utf-8") for path in sorted(_EXAMPLE.iterdir())}
    files |= {folder / ".gitignore": _GITIGNORE, config: config_text()}
    written = [path for path, text in files.items() if _write(path, text, private=path == config)]
    if as_json:
        print_json({"workspace": str(folder.resolve()), "files": [str(path) for path in written]})
        return
    for path in written:
        say(f"wrote {escape(path)}")
    enter = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    say(f"Next: {escape(enter)}hub train adapters/example --deploy")


def config_text() -> str:
    """Return hub.toml with every setting of every section, commented out at its default."""
    from pydantic import BaseModel

    from hub.config import Settings

    parts = [_HEAD]
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines = (line for key, field in section.model_fields.items() for line in _setting(key, field))
            parts.append("\n".join([f"[{name}]", *lines]) + "\n")
    return "\n".join(parts)


def _setting(key: str, field: FieldInfo) -> list[str]:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    about = field.description or (f"One of: {', '.join(map(str, choices))}." if choices else "")
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    shown = f"# {key} = {json.dumps(default)}"  # JSON values of these types are valid TOML
    return [f"# {about}", shown] if about else [shown]


def _write(path: Path, text: str, private: bool) -> bool:
    """Write a new file, readable by its owner alone if `private`; return False if it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    except FileExistsError:
        return False
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except BaseException:
        path.unlink()  # half of it would count as written the next time
        raise
    return True
