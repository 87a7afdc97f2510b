"""Plugins in environments of their own, for tests that must not change the one they run in."""

from __future__ import annotations

import shutil
import site
import sysconfig
import tomllib
import venv
from pathlib import Path

__all__ = ["fresh_environment", "install_into"]


def fresh_environment(folder: Path) -> Path:
    """Make a virtual environment that also sees the packages of this one; return its Python.

    What its `python -m pip` installs goes to the new environment alone. No network is needed.
    """
    builder = venv.EnvBuilder(symlinks=True)
    builder.create(folder)
    packages = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))
    lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
    (packages / "parent.pth").write_text("".join(lines), encoding="utf-8")
    return Path(builder.ensure_directories(folder).env_exe)


def install_into(packages: Path, source: Path) -> None:
    """Put a plugin's modules and metadata in a folder of `sys.path`, as pip would, only at once.

    `source` holds pyproject.toml and, beside it, the modules. What Python compiled there is left behind.
    """
    compiled = shutil.ignore_patterns("__pycache__")
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for item in source.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            shutil.copytree(item, packages / item.name, ignore=compiled)
        elif item.suffix == ".py":
            shutil.copy(item, packages)
    info = packages / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head, encoding="utf-8")
    (info / "INSTALLER").write_text("hub.testing\n", encoding="utf-8")
    groups = project.get("entry-points", {})
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
