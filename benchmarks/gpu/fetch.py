"""Fetch the wheels that a GPU machine with torch, transformers and pytest still lacks, to carry them there.

    python -m benchmarks.gpu.fetch FOLDER [--python 3.12]

The versions are those of `constraints.txt`. FOLDER then goes to `python -m benchmarks.gpu --wheels FOLDER`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

MAX_MB = 60.0
LACKING = (
    "annotated-types", "cachetools", "google-re2", "llguidance", "peft", "platformdirs", "pydantic",
    "pydantic-core", "pydantic-settings", "python-dotenv", "typing-inspection",
)  # fmt: skip
# What such a machine has, of all that the engine and its tests import.
PRESENT = (
    "accelerate", "filelock", "huggingface-hub", "hypothesis", "httpx", "numpy", "onnxruntime", "packaging",
    "pluggy", "psutil", "pytest", "pytest-timeout", "pyyaml", "rich", "safetensors", "torch", "tqdm",
    "transformers", "typer", "typing-extensions",
)  # fmt: skip
GLIBC = (17, 24, 27, 28, 31, 34, 35, 39)  # 2.N; pip matches N exactly
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def pinned(names: Sequence[str], constraints: str) -> list[str]:
    """Return `name==version` for each name.

    Raises:
        ValueError: a name is not pinned.
    """
    lines = [line for line in constraints.splitlines() if "==" in line and not line.startswith("#")]
    versions = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2].strip() for line in lines}
    if missing := [name for name in names if name not in versions]:
        raise ValueError(f"constraints.txt does not pin {', '.join(missing)}.")
    return [f"{name}=={versions[canonicalize_name(name)]}" for name in names]


def download(folder: Path, python: str) -> None:
    """Download the wheels for Linux on x86-64."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--implementation", "cp", "--python-version", python]
    for minor in GLIBC:
        command += ["--platform", f"manylinux_2_{minor}_x86_64"]
    command += ["--platform", "manylinux2014_x86_64"]
    subprocess.run([*command, *pinned(LACKING, CONSTRAINTS.read_text(encoding="utf-8"))], check=True)


def unmet(wheels: Sequence[Path], python: str) -> list[str]:
    """Return the requirements that neither the wheels nor the machine meet, and other faults."""
    versions = {parse_wheel_filename(path.name)[0]: parse_wheel_filename(path.name)[1] for path in wheels}
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    faults = [f"There is no wheel of {name}." for name in LACKING if canonicalize_name(name) not in versions]
    for path in wheels:
        found = metadata(path)
        if found.requires_python and f"{python}.0" not in found.requires_python:
            faults.append(f"{path.name} is not for Python {python}.")
        for one in found.requires_dist or []:
            if reason := _fault(one, versions, environment):
                faults.append(f"{path.name} {reason}.")
    return faults


def metadata(wheel: Path) -> Metadata:
    """Read the metadata of a wheel."""
    with ZipFile(wheel) as opened:
        name = next(name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        return Metadata.from_email(opened.read(name), validate=False)


def _fault(one: Requirement, versions: dict, environment: dict[str, str]) -> str:  # type: ignore[type-arg]
    if one.marker and not one.marker.evaluate(environment):
        return ""
    name = canonicalize_name(one.name)
    if name in versions:
        return "" if one.specifier.contains(versions[name]) else f"needs {one}, not {versions[name]}"
    return "" if name in PRESENT else f"needs {one}"


def main() -> bool:
    """Fetch, then print the sizes and whatever is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="The Python of the machine.")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    download(options.folder, options.python)
    wheels = sorted(options.folder.glob("*.whl"))
    total = sum(path.stat().st_size for path in wheels) / 1e6
    faults = unmet(wheels, options.python)
    if total > MAX_MB:
        faults.append(f"The wheels have more than {MAX_MB:.0f} MB.")
    lines = [f"{path.stat().st_size / 1e6:6.2f} MB  {path.name}" for path in wheels]
    sys.stdout.write("\n".join([*lines, f"{total:6.2f} MB  in {len(wheels)} wheels", *faults, ""]))
    return not faults


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
