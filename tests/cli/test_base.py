"""`hub base` in this process, on small bases made for the test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadRequest, NotFound


def hub(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["base", *arguments])


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("base") / "tiny").path


def test_a_pulled_base_is_printed_and_listed(tiny_folder: Path) -> None:
    pulled = hub("pull", str(tiny_folder), "--name", "mine")
    assert pulled.exit_code == 0, pulled.exception
    assert "Base mine: bert encoder, up to 64 tokens." in pulled.stdout
    assert "base: mine" in pulled.stdout
    listed = hub("list")
    assert listed.stdout.splitlines()[0].split() == [
        "NAME",
        "KIND",
        "TYPE",
        "TOKENS",
        "FINGERPRINT",
        "SOURCE",
    ]
    assert listed.stdout.splitlines()[1].split()[:4] == ["mine", "encoder", "bert", "64"]


def test_json_is_one_document_of_what_is_here(tiny_folder: Path) -> None:
    pulled = json.loads(hub("pull", str(tiny_folder), "--json").stdout)
    base = Bases(find_home()).get("tiny")
    assert pulled == {
        "name": "tiny",
        "source": str(tiny_folder),
        "fingerprint": base.fingerprint,
        "kind": "encoder",
        "model_type": "bert",
        "max_length": 64,
        "path": str(base.path),
    }
    assert json.loads(hub("list", "--json").stdout) == [pulled]


def test_an_empty_home_shows_the_next_command() -> None:
    assert "hub base pull minilm" in hub("list").stdout
    assert json.loads(hub("list", "--json").stdout) == []


def test_progress_goes_to_stderr(tiny_folder: Path) -> None:
    result = hub("pull", str(tiny_folder))
    assert "copy" in result.stderr
    assert "copy" not in result.stdout


@pytest.mark.parametrize(("source", "error"), [("nonsense", BadRequest), ("./none", NotFound)])
def test_a_source_that_is_none_is_answered_with_the_forms(source: str, error: type[Exception]) -> None:
    result = hub("pull", source)
    assert isinstance(result.exception, error)
    assert "pypi:dist==version" in str(result.exception)
