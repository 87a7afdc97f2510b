"""The command line as a whole: light to start, complete, honest about errors."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.cli.main import is_disk_full

HEAVY = ("torch", "transformers", "peft", "onnxruntime", "bentoml", "datasets", "sklearn", "pandas", "numpy")


def loaded_by(code: str) -> set[str]:
    probe = f"{code}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_hub_loads_no_heavy_library() -> None:
    assert loaded_by("import hub").isdisjoint(HEAVY)


def test_the_command_line_loads_no_heavy_library() -> None:
    assert loaded_by("import hub.cli.main").isdisjoint({*HEAVY, "pydantic", "sqlalchemy", "rich"})


def test_help_lists_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from hub.cli.main import main; main()", "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = "init base plugins train adapters export serve deploy rollback predict status quickstart"
    assert [name for name in names.split(" ") if f"\n  {name} " not in done.stdout] == []


def test_a_home_that_cannot_be_written_is_one_line_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = subprocess.run(
        [sys.executable, "-m", "hub", "adapters", "list", "--json"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HUB_HOME": str(tmp_path / "file" / "home")},
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "host_fault"
    assert "Traceback" not in done.stderr


def test_a_full_disk_that_a_library_reports_is_one_line_and_no_traceback() -> None:
    """safetensors and torch raise errors of their own kinds for it."""
    code = (
        "import hub.cli.main as main\n"
        "class SafetensorError(Exception): pass\n"
        "def app():\n"
        "    try: raise SafetensorError('I/O error: No space left on device (os error 28)')\n"
        "    except Exception as error: raise RuntimeError('cannot save') from error\n"
        "main.app = app\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "host_fault" in done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_short_write_of_torch_counts_as_a_full_disk_and_another_error_does_not() -> None:
    assert is_disk_full(RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"))
    assert is_disk_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not is_disk_full(RuntimeError("shapes do not match"))


@pytest.mark.parametrize("command", ["--help", "status", "plugins list --json"])
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_output_takes_nothing_and_breaks_nothing(command: str, closed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m hub {command} {closed}', sys.executable],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HUB_HOME": str(tmp_path / "home")},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_the_encoding_of_the_output_lacks_is_escaped(options: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hub", "init", str(tmp_path / "été"), *options],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    if options:
        assert json.loads(done.stdout)["workspace"].endswith("/été")
    else:
        assert "\\xe9t\\xe9/hub.toml" in done.stdout
