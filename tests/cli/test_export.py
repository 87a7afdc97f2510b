"""`hub export` in this process, on a tiny base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hub.api import HeadKind
from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.errors import Conflict, NotFound
from hub.store.importing import import_peft
from hub.store.store import Store


def hub(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and a classifier that plain PEFT saved."""
    from tests.support.tiny import tiny_adapter, tiny_encoder

    folder = tmp_path_factory.mktemp("made")
    base = tiny_encoder(folder / "tiny")
    return base.path, tiny_adapter(base, folder / "tickets", kind=HeadKind.SEQUENCE, labels=("bug", "howto"))


@pytest.fixture(autouse=True)
def stored(tickets: tuple[Path, Path]) -> Store:
    base, adapter = tickets
    pulled = Bases(find_home()).pull(str(base))
    store = Store(find_home())
    labels = ("bug", "howto")
    import_peft(store, adapter, "tickets", task="classification", head=None, base=pulled, labels=labels)
    return store


def test_a_graph_is_written_and_its_figures_shown(tmp_path: Path) -> None:
    result = hub("export", "tickets", "--format", "onnx", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    assert "Wrote tickets@1 as onnx (fp32)" in result.stdout
    assert "MAX DIFFERENCE" in result.stdout
    assert "all" in result.stdout
    assert (tmp_path / "out" / "model.onnx").is_file()


def test_json_has_the_figures_and_nothing_else_is_on_stdout(tmp_path: Path) -> None:
    result = hub("export", "tickets@1", "--int8", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    assert (found["version"], found["format"], found["precision"]) == ("tickets@1", "onnx", "int8")
    assert found["folder"] == str(tmp_path / "out")
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert found["parity"] == json.loads((tmp_path / "out" / "parity.json").read_text())


def test_peft_is_what_adapters_export_writes(tmp_path: Path) -> None:
    assert hub("export", "tickets", "--format", "peft", "-o", tmp_path / "one").exit_code == 0
    assert hub("adapters", "export", "tickets", tmp_path / "other").exit_code == 0
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "other")
    )
    assert one == other
    assert "adapter_model.safetensors" in one


def test_the_current_folder_may_be_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = hub("export", "tickets", "--format", "peft", "-o", ".")
    assert result.exit_code == 0, result.exception
    assert (tmp_path / "here" / "adapter_model.safetensors").is_file()


def test_what_cannot_be_exported_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert isinstance(hub("export", "tickets", "-o", tmp_path).exception, Conflict)
    missing = hub("export", "other", "-o", tmp_path / "out").exception
    assert isinstance(missing, NotFound)
    assert "tickets" in str(missing)
    assert "onnx" in hub("export", "tickets", "--format", "gguf", "-o", tmp_path / "out").output
