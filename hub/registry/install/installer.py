"""Changes the environment by `uv pip` if there is uv, else by pip; the wheels were resolved before."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hub.errors import Conflict
from hub.registry.install.pip import reason, run_installer, run_pip
from hub.registry.install.wheel import WheelFile

__all__ = ["find_uv", "install_wheels", "remove"]


def find_uv() -> str:
    """Return the path of uv: beside this Python, else on PATH; "" if there is none."""
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    return beside or shutil.which("uv") or ""


def install_wheels(wheels: Sequence[WheelFile], folder: Path) -> None:
    """Install exactly these wheels, all in `folder`, each checked by its hash, without the dependencies.

    Raises:
        Conflict: the installer failed, and says why.
    """
    requirements = folder / "requirements.txt"
    lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels]
    requirements.write_text("".join(lines), encoding="utf-8")
    options = ["--no-deps", "--no-index", "--find-links", str(folder), "--require-hashes"]
    tail = ["-r", str(requirements)]
    if uv := find_uv():
        done, output = _run_uv(uv, "install", "--offline", "--no-config", "--reinstall", *options, *tail)
    else:
        done, output = run_pip("install", "--force-reinstall", *options, *tail)
    if not done:
        names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in wheels)
        raise Conflict(f"{names} could not be installed: {reason(output)}")


def remove(names: Sequence[str]) -> tuple[bool, str]:
    """Uninstall distributions; return whether the installer succeeded, and its output."""
    if uv := find_uv():
        return _run_uv(uv, "uninstall", "--no-config", *names)
    return run_pip("uninstall", "--yes", *names)


def _run_uv(uv: str, command: str, *arguments: str) -> tuple[bool, str]:
    return run_installer(uv, "pip", command, "--python", sys.executable, "--no-progress", *arguments)
