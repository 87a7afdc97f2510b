"""`hub adapters import` refuses a rank above serve.max_rank."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadAdapter
from hub.store.store import Store
from tests.support.homes import FakeHome, plain_adapter
from tests.support.tiny_bases import tiny_encoder

PLAIN = ("--task", "sentiment", "--base", "base", "--labels", "negative,positive")


@pytest.fixture
def home(tmp_path: Path) -> FakeHome:
    return FakeHome(find_home(), tiny_encoder(tmp_path / "base").path)


def imported(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["adapters", "import", str(folder), "mood", *arguments])


def test_a_plain_folder_and_one_with_a_manifest_are_refused(
    home: FakeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.add("own")
    exported = home.store.export("own@1", tmp_path / "exported")
    plain = plain_adapter(tmp_path / "plain", seed=1)
    monkeypatch.setenv("HUB_SERVE__MAX_RANK", "1")
    for result in (imported(plain, *PLAIN), imported(exported)):
        assert isinstance(result.exception, BadAdapter), result.exception
        assert "rank 2" in str(result.exception)
        assert "serve.max_rank" in str(result.exception)
    assert [str(version.ref) for version in Store(find_home()).versions()] == ["own@1"]


def test_the_limit_itself_is_taken(home: FakeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_SERVE__MAX_RANK", "2")
    result = imported(plain_adapter(tmp_path / "plain", seed=1), *PLAIN)
    assert result.exit_code == 0, result.exception


def test_a_head_of_more_labels_than_any_slot_takes_is_refused_before_it_is_read(
    home: FakeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.add("own")
    exported = home.store.export("own@1", tmp_path / "exported")
    plain = plain_adapter(tmp_path / "plain", seed=1)

    def refuse(*given: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr("hub.store.manifest.MAX_LABELS", 1)
    for module in ("content.weights", "store"):
        monkeypatch.setattr(f"hub.store.{module}.read_adapter", refuse)
    for result in (imported(plain, *PLAIN), imported(plain, *PLAIN, "--merged"), imported(exported)):
        assert isinstance(result.exception, BadAdapter), result.exception
        assert "2 labels, and the limit is 1" in str(result.exception)
