"""Runs the pip of the current Python, and interprets its output."""

from __future__ import annotations

import re
import subprocess
import sys

from hub.config import child_environment
from hub.errors import BadConfig, BadPlugin, Conflict, HashMismatch, HubError, SourceUnavailable

__all__ = ["causes", "failure", "is_conflict", "reason", "run_installer", "run_pip"]

_CAUSE = re.compile(r"^ {4}(\S.*(?:depends on|requested).*)$", re.MULTILINE)
_MISMATCH = re.compile(r"Expected sha256 \w+\s+Got +\w+")
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception): ")
_MISSING = re.compile(r"No matching distribution found for (\S+)")
_BACKEND = re.compile(r"No module named '([^']+)'")
_BUILD_STEP = "install build dependencies did not run successfully"
_NO_REASON = (
    "subprocess-exited-with-error",
    "metadata-generation-failed",
)  # pip's last line, after the reason
_ELSEWHERE = "Or install a wheel that was built elsewhere by: python -m pip wheel --no-deps"
_UNREACHED = ("Retrying (", "No matching distribution found", "Could not find a version", "ConnectionError")


def run_pip(command: str, *arguments: str) -> tuple[bool, str]:
    """Run a pip command; return whether it succeeded, and its output.

    Raises:
        BadConfig: this Python has no pip.
    """
    quiet = ("--no-input", "--disable-pip-version-check")
    done, output = run_installer(sys.executable, "-m", "pip", command, *quiet, *arguments)
    if not done and "No module named pip" in output:
        raise BadConfig(f"{sys.executable} has no pip, which installs plugins. Run: python -m ensurepip")
    return done, output


def run_installer(*command: str) -> tuple[bool, str]:
    """Run a program that installs; return whether it succeeded, and its output."""
    process = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=child_environment(),
        text=True,
        errors="replace",
        check=False,
    )
    return process.returncode == 0, process.stdout


def failure(what: str, output: str) -> HubError:
    """Return the error for pip's output of a failed installation of `what`."""
    if _BUILD_STEP in output:
        return _no_build_requirement(what, output)
    if "BackendUnavailable" in output:
        return _no_build_backend(what, output)
    if is_conflict(output):
        return Conflict(f"{what} cannot be installed: its requirements conflict: {causes(output)}.")
    if mismatch := _MISMATCH.search(output):
        return HashMismatch(f"{what} is not what was resolved or locked: {' '.join(mismatch[0].split())}.")
    if any(sign in output for sign in _UNREACHED):
        unreached = "The package index could not be reached." if "Retrying (" in output else ""
        advice = unreached or "Check the name and the package index."
        return SourceUnavailable(f"pip could not get {what}: {reason(output)} {advice}")
    return BadPlugin(f"pip could not install {what}: {reason(output)}")


def _no_build_requirement(what: str, output: str) -> SourceUnavailable:
    """Return the error for a package that is needed to build `what`, and that pip could not download."""
    missing = _MISSING.search(output)
    needed = missing[1] if missing else "the packages of its [build-system]"
    why = "the package index could not be reached" if "Retrying (" in output else "no package index has it"
    return SourceUnavailable(
        f"{what} cannot be built: building it needs {needed}, and {why}. Without a network, install what "
        "[build-system] in its pyproject.toml requires into this environment, and add --no-build-isolation. "
        f"{_ELSEWHERE}"
    )


def _no_build_backend(what: str, output: str) -> BadPlugin:
    """Return the error for `what` that is built with installed packages, of which one is missing."""
    missing = _BACKEND.search(output)
    return BadPlugin(
        f"{what} cannot be built: {missing[1] if missing else 'its build backend'} is not installed. Install "
        "what [build-system] in its pyproject.toml requires, or, with a network, leave --no-build-isolation "
        f"out. {_ELSEWHERE}"
    )


def is_conflict(output: str) -> bool:
    """Return whether pip found no versions that satisfy all requirements and constraints."""
    return "ResolutionImpossible" in output


def causes(output: str) -> str:
    """Return the requirements that conflict."""
    return "; ".join(_CAUSE.findall(output)) or reason(output).removesuffix(".")


def reason(output: str) -> str:
    """Return the exception of a build, else pip's last error, else the last line, as a sentence."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    errors = [line[len("ERROR: ") :] for line in lines if line.startswith(("ERROR: ", "error: "))]
    errors = [line for line in errors if line not in _NO_REASON] or errors
    found = (raised or errors or lines or ["no output from pip"])[-1]
    return found if found.endswith(".") else f"{found}."
