"""Small wheels, written by hand or built with the installed setuptools: no test needs a network."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["READER", "build_wheels", "sha256", "write_plugin_wheel", "write_wheel"]

BUILD = """\
import os, sys
from setuptools import build_meta
wheels, *folders = sys.argv[1:]  # which each build replaces
for folder in folders:
    os.chdir(folder)
    build_meta.build_wheel(wheels)
"""
READER = """\
from collections.abc import Iterator
from hub.api import Reader, ReaderSpec, hookimpl


@hookimpl
def hub_readers() -> Iterator[ReaderSpec]:
    yield ReaderSpec(name={name!r}, summary="Rows.", factory="{module}:Mail", suffixes=(".{module}",))


class Mail(Reader):
    def read(self, name, stream, options):
        raise NotImplementedError
"""


def write_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    modules: Mapping[str, str] | None = None,
    requires: Iterable[str] = (),
    entry_points: str = "",
) -> Path:
    """Write a pure Python wheel with these modules by file name; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        **(modules or {}),
        f"{info}/METADATA": head + "".join(f"Requires-Dist: {line}\n" for line in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if entry_points:
        files[f"{info}/entry_points.txt"] = entry_points
    lines = [f"{file},{_recorded(text)},{len(text.encode())}\n" for file, text in files.items()]
    files[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"])
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return path


def write_plugin_wheel(
    folder: Path, name: str, version: str = "1.0", *, requires: Iterable[str] = (), extra: str = ""
) -> Path:
    """Write the wheel of a plugin with a data reader; `extra` is added to its module."""
    module = name.replace("-", "_")
    code = READER.format(name=name, module=module) + extra
    points = f"[hub.plugins.v1]\n{name} = {module}\n"
    modules = {f"{module}.py": code}
    return write_wheel(folder, name, version, modules=modules, requires=requires, entry_points=points)


def build_wheels(folder: Path, projects: Iterable[Path]) -> dict[str, Path]:
    """Build the wheels of projects, which are written to, into a folder; return them by "name-version"."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", BUILD, str(folder), *map(str, projects)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"-".join(wheel.name.split("-")[:2]).replace("_", "-"): wheel for wheel in folder.glob("*.whl")}


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _recorded(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
