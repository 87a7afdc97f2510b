"""What `hub plugins install` is given: a package of an index, a folder, a wheel or a source archive."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from hub.config import PluginSettings
from hub.errors import BadPlugin, BadRequest, NotFound, PluginNotAllowed
from hub.files import expanded
from hub.registry.install.pip import failure, run_pip
from hub.registry.install.wheel import WheelFile

__all__ = ["InstallTarget", "local_wheel", "target_of"]

_VERSIONS = r"(?:==|!=|~=|<=|>=|<|>)[A-Za-z0-9.!+*_-]+"
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[A-Za-z0-9._,-]+\])?"
    rf"(?:{_VERSIONS}(?:,{_VERSIONS})*)?"
)
_ARCHIVES = (".whl", ".tar.gz", ".zip")


@dataclass(frozen=True, slots=True)
class InstallTarget:
    """A requirement of a package index and its canonical name, or a path; `shown` is for messages."""

    shown: str
    distribution: str = ""
    path: Path | None = None


def target_of(what: str) -> InstallTarget:
    """Parse the argument of the command.

    Raises:
        BadRequest, NotFound: it is neither a requirement nor an installable path.
    """
    path = expanded(what)
    looks_local = "/" in what or "\\" in what or what.startswith((".", "~")) or what.endswith(_ARCHIVES)
    if not what or (not looks_local and not (path / "pyproject.toml").is_file()):
        if not (match := _REQUIREMENT.fullmatch(what)):
            raise BadRequest(
                f"{what[:120]!r} is neither a path nor a package such as acme-plugin or acme-plugin==1.2."
            )
        return InstallTarget(what, canonicalize_name(match["name"]))
    path = path.resolve()
    if not path.exists():
        raise NotFound(f"{path} does not exist. Name a folder, a wheel, or a package of the package index.")
    if path.is_dir() and not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise BadRequest(f"{path} is not a Python distribution: it has no pyproject.toml.")
    if path.is_file() and not path.name.endswith(_ARCHIVES):
        raise BadRequest(f"{path.name} cannot be installed: name a folder, or a file that ends in .whl.")
    return InstallTarget(str(path), path=path)


def local_wheel(path: Path, folder: Path, settings: PluginSettings, build_isolation: bool) -> WheelFile:
    """Copy a wheel to `folder`, or build one there from a folder or a source archive.

    Raises:
        PluginNotAllowed: it would be built, and plugins.wheels_only is set.
        SourceUnavailable, BadPlugin: it cannot be built, or the wheel is damaged.
    """
    if path.name.endswith(".whl"):
        return WheelFile.read(Path(shutil.copy(path, folder)))
    if settings.wheels_only:
        raise PluginNotAllowed(
            f"{path} is not a wheel, and plugins.wheels_only is set. Build one elsewhere: pip wheel --no-deps"
        )
    isolation = [] if build_isolation else ["--no-build-isolation"]
    done, output = run_pip("wheel", "--no-deps", *isolation, "--wheel-dir", str(folder), str(path))
    if not done:
        raise failure(str(path), output)
    built = list(folder.glob("*.whl"))
    if len(built) != 1:
        raise BadPlugin(f"{path} was built into {len(built)} wheels instead of one.")
    return WheelFile.read(built[0])
