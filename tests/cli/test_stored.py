"""Commands that only read create no state folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.config import find_home
from hub.errors import NotFound
from hub.store.store import Store

EMPTY = (
    "adapters list",
    "adapters list --json",
    "feedback show",
    "base list",
    "plugins list",
    "plugins check",
    "status",
    "deployments",
    "doctor",
    "doctor --fix",
)
UNKNOWN = (
    "adapters list mood",
    "adapters show mood",
    "adapters export mood OUT",
    "adapters rm mood@1 --yes",
    "evaluate mood --data DATA",
    "explain mood text",
    "report mood",
    "export mood --output OUT",
    "feedback show mood",
    "feedback export mood --out OUT.csv",
    "feedback clear mood --yes",
    "data inspect DATA --like mood",
    "predict mood text",
    "deploy mood@1 --as mood",
    "promote mood",
    "rollback mood",
    "undeploy mood",
    "deployments mood",
)


@pytest.mark.parametrize("line", EMPTY)
def test_a_list_is_empty_and_no_home_is_made(line: str) -> None:
    result = CliRunner().invoke(app, line.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.stdout
    assert not find_home().exists()


@pytest.mark.parametrize("line", UNKNOWN)
def test_an_unknown_name_is_refused_and_no_home_is_made(line: str, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("text,label\ngood,yes\nbad,no\n", encoding="utf-8")
    words = [word.replace("OUT", str(tmp_path / "out")).replace("DATA", str(data)) for word in line.split()]
    with pytest.raises(NotFound, match=r"No (adapter|deployment) named 'mood'\. There is no"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert sorted(tmp_path.iterdir()) == [data]


def test_a_shared_catalog_is_read_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'shared' / 'catalog.db'}"
    Store(tmp_path / "other", catalog=url)
    monkeypatch.setenv("HUB_CATALOG__URL", url)
    for line in ("adapters list", "feedback show"):
        assert CliRunner().invoke(app, line.split(), catch_exceptions=False).exit_code == 0
    assert not find_home().exists()


def test_contents_without_their_catalog_are_not_taken_for_an_empty_store() -> None:
    (find_home() / "adapters" / ("a" * 64)).mkdir(parents=True)
    result = CliRunner().invoke(app, ["adapters", "list"])
    assert result.exit_code == 1
    assert "hub doctor --adopt" in str(result.exception)
