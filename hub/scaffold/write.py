"""Writes a new plugin from the templates in this folder."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from importlib.metadata import distributions
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from packaging.utils import canonicalize_name

from hub import __version__
from hub.api import ENTRY_POINT_GROUP, PLUGIN_GROUP
from hub.errors import BadRequest, Conflict, InvalidName
from hub.files import new_folder
from hub.names import check_name
from hub.registry.discovery import BUILT_IN, find_plugins
from hub.scaffold.choices import NewHead, NewKind

__all__ = ["write_plugin"]

_LIBRARIES = {  # what the template of a kind imports, beside the hub
    "task": ("numpy", "pydantic>=2"),
    "method": ("peft", "pydantic>=2", "transformers"),
    "engine": ("torch", "transformers"),
    "route": ("fastapi", "pydantic>=2"),
    "command": ("typer",),
    "explainer": ("torch",),
}
_USES = {  # how what the template of a kind provides is used
    "reader": "In a recipe, `data: {source: messages.$identifier}`; `hub data inspect` reads it, too.",
    "metric": "In a recipe, `evaluate: {metrics: [$name]}`; reports and `hub evaluate` then have it.",
    "method": "In a recipe, `method: {type: $name}`.",
    "engine": "`hub serve --engine $name` runs BERT bases on it.",
    "observer": "A server that starts after its installation has it; `/admin/status` shows what it got.",
    "route": "A server that starts after its installation answers `POST /plugins/$name/ask`.",
    "command": '`hub $name "Nobody can log in."`',
    "cleaner": "In a recipe, `data: {clean: {others: [$name]}}`.",
    "augmenter": "In a recipe, `augment: {copies: 1, others: {$name: 0.1}}`.",
    "explainer": '`hub explain ADAPTER "A text." --method $name`',
    "tracker": "In a recipe, `report: {trackers: [$name]}`.",
    "base-source": "`hub base pull $scheme:NAME`, with `root` of `[plugins.$name]` in hub.toml.",
    "renderer": "A console that starts after its installation draws answers of `classification` with it.",
}
_TAKEN_SCHEMES = ("file", "hf", "pypi")
_EXTENSION = "extension"  # templates of every kind but tasks
_SHARED = "shared"  # templates of every plugin
_TEMPLATE = ".tmpl"
_IN_PATHS = {"__package__": "package", "__name__": "identifier"}  # placeholders in paths of templates


def write_plugin(
    name: str,
    parent: Path,
    tasks: Collection[str] = (),
    head: NewHead = "sequence",
    kind: NewKind = "task",
) -> Path:
    """Write a working plugin with a task, or another kind, to `parent/name` and return that folder.

    `tasks` are the tasks of the installed plugins; `head` is what a new task answers with.

    Raises:
        InvalidName: `name` is not valid for a task and a distribution.
        BadRequest: `parent` is not a writable folder.
        Conflict: `parent/name` exists, or the plugin would replace another one.
    """
    words = _words(name, kind)
    _refuse_taken(words, tasks)
    folder = parent / name
    if folder.exists():
        raise Conflict(f"{folder} already exists. Choose another name, or another folder with --dir.")
    try:
        with (
            new_folder(folder) as aside,
            as_file(files("hub.scaffold") / "templates") as templates,
        ):
            for part in (_SHARED, head) if kind == "task" else (_SHARED, _EXTENSION, kind):
                _fill(templates / part, aside, words)
    except OSError as error:
        raise BadRequest(f"{parent} cannot hold the new plugin: {error.strerror}.") from None
    return folder


def _refuse_taken(words: Mapping[str, str], tasks: Collection[str]) -> None:
    """Raise Conflict for the name of an installed or built-in plugin, which pip would replace."""
    name, package = words["name"], words["package"]
    distribution = canonicalize_name(words["distribution"])
    installed = {canonicalize_name(item.name) for item in distributions() if item.name}
    if distribution in installed | BUILT_IN or find_spec(package):
        what = f"the distribution {distribution}"
    elif name in tasks or any(plugin.name == name for plugin in find_plugins()):
        what = f"a plugin or task {name!r}"
    else:
        return
    raise Conflict(
        f"{name!r} is taken: the new plugin would replace or conflict with {what}. Choose another name."
    )


def _words(name: str, kind: str) -> dict[str, str]:
    """Return the values of the templates' placeholders."""
    check_name(name, "plugin")
    if not name[-1].isalnum():
        raise InvalidName(f"{name!r} is not a valid plugin name: it must end in a letter or digit.")
    identifier = re.sub("[-.]", "_", name)
    camel = "".join(part.capitalize() for part in re.split(r"[-._]+", name))
    names = {"name": name, "identifier": identifier, "scheme": _scheme(name)}
    return {
        **names,
        "distribution": f"grafthub-{name}",
        "package": f"grafthub_{identifier}",
        "camel": camel if camel[0].isalpha() else f"Task{camel}",
        "dependencies": json.dumps([f"grafthub>={__version__}", *_LIBRARIES.get(kind, ())]),
        "kind": kind.replace("-", " "),
        "module": kind.replace("-", "_"),
        "use": Template(_USES.get(kind, "")).substitute(names),
        "group": ENTRY_POINT_GROUP if kind == "task" else PLUGIN_GROUP,
        "hooks": "spec" if kind == "task" else "hooks",
    }


def _scheme(name: str) -> str:
    """Return the beginning of the sources that a new plugin pulls: its name, if that is valid for one."""
    scheme = re.sub("[^a-z0-9.-]", "-", name)
    usable = re.fullmatch("[a-z][a-z0-9.-]+", scheme) and scheme not in _TAKEN_SCHEMES
    return scheme if usable else f"own-{scheme}"


def _fill(templates: Path, folder: Path, words: Mapping[str, str]) -> None:
    for source in sorted(templates.rglob("*")):
        if not source.is_file():
            continue
        path = str(source.relative_to(templates)).removesuffix(_TEMPLATE)
        for placeholder, word in _IN_PATHS.items():
            path = path.replace(placeholder, words[word])
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        if source.name.endswith(_TEMPLATE):
            text = Template(text).substitute(words)
        target.write_text(text, encoding="utf-8", newline="\n")
