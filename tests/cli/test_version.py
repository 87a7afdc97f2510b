"""`hub --version`."""

from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

import hub
from hub.cli.main import app


def test_it_prints_the_version_of_the_distribution() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"hub {hub.__version__}\n")
    assert hub.__version__ == version("grafthub")
