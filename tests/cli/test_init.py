"""`hub init`: the workspace is complete, agrees with the settings, and trains."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from hub.cli.init import config_text
from hub.cli.main import app
from hub.config import Settings, load_settings
from hub.errors import Conflict


def hub(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def sections() -> dict[str, type[BaseModel]]:
    return {name: info.annotation for name, info in Settings.model_fields.items() if name != "home"}


def uncommented(text: str) -> str:
    return re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)


def test_a_new_workspace_has_settings_and_an_example(tmp_path: Path) -> None:
    result = hub("init", str(tmp_path / "ws"))
    assert result.exit_code == 0, result.exception
    files = {
        str(path.relative_to(tmp_path / "ws")) for path in (tmp_path / "ws").rglob("*") if path.is_file()
    }
    assert files == {
        "hub.toml",
        ".gitignore",
        "adapters/example/recipe.yaml",
        "adapters/example/tickets.csv",
    }
    assert "hub train adapters/example --deploy" in result.stdout


def test_every_setting_is_in_the_file_at_its_default() -> None:
    written = tomllib.loads(uncommented(config_text()))
    assert written == {
        name: section().model_dump(mode="json", exclude_none=True) for name, section in sections().items()
    }


def test_the_file_as_it_is_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub("init", str(tmp_path / "ws"))
    monkeypatch.chdir(tmp_path / "ws")
    settings = load_settings()
    assert {name: getattr(settings, name) for name in sections()} == {
        name: section() for name, section in sections().items()
    }
    (tmp_path / "ws" / "hub.toml").write_text(uncommented(config_text()))
    assert load_settings() == settings


def test_every_setting_that_has_a_description_shows_it() -> None:
    text = config_text()
    for section in sections().values():
        for key, field in section.model_fields.items():
            assert re.search(rf"^# {key} = ", text, re.MULTILINE)
            assert field.description is None or f"# {field.description}\n# {key} = " in text


def test_a_workspace_is_not_started_twice(tmp_path: Path) -> None:
    assert hub("init", str(tmp_path)).exit_code == 0
    (tmp_path / "hub.toml").write_text("[serve]\nport = 8080\n")
    assert isinstance(hub("init", str(tmp_path)).exception, Conflict)
    assert (tmp_path / "hub.toml").read_text() == "[serve]\nport = 8080\n"


def test_files_that_are_there_are_kept(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    result = hub("init", str(tmp_path), "--json")
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    outcome = json.loads(result.stdout)
    assert outcome["workspace"] == str(tmp_path)
    assert sorted(Path(path).name for path in outcome["files"]) == ["hub.toml", "recipe.yaml", "tickets.csv"]


def test_a_workspace_on_a_full_disk_is_complete_after_the_next_attempt(tmp_path: Path) -> None:
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (300, 300)); from hub.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "init", str(tmp_path / "full")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, "host_fault" in done.stderr) == (1, True)
    for name in ("full", "other"):
        assert hub("init", str(tmp_path / name)).exit_code == 0
    for file in ("hub.toml", "adapters/example/recipe.yaml", "adapters/example/tickets.csv"):
        assert (tmp_path / "full" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_the_example_is_a_recipe_over_balanced_rows(tmp_path: Path) -> None:
    from hub.recipe.recipe import load_recipe

    hub("init", str(tmp_path))
    folder = tmp_path / "adapters" / "example"
    recipe = load_recipe(folder)
    assert (recipe.name, recipe.task, recipe.base) == ("example", "classification", "minilm")
    assert (folder / recipe.data.source[0].source).is_file()
    rows = (folder / "tickets.csv").read_text().splitlines()
    labels = Counter(row.rpartition(",")[2] for row in rows[1:])
    assert set(labels) == {"billing", "bug", "howto"}
    assert min(labels.values()) >= 14


@pytest.mark.slow
def test_the_example_trains_on_the_real_base_and_goes_live(
    minilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub.bases.cache import Bases
    from hub.store.store import Store

    hub("init", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Bases(load_settings().home).pull(str(minilm.path), "minilm-copy")
    result = hub(
        "train",
        "adapters/example",
        "--set",
        "base=minilm-copy",
        "--set",
        "train.epochs=6",
        "--deploy",
        "--json",
    )
    assert result.exit_code == 0, result.exception
    version = Store(load_settings().home).deployment("example").stable
    assert version.manifest.serving.labels == ("billing", "bug", "howto")
    assert version.manifest.metrics["accuracy"] >= 0.6
