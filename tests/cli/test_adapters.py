"""`hub adapters` in this process, on adapters that plain PEFT made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadAdapter, BadRequest, Conflict, HubError, InvalidName, NotFound, UnsupportedAdapter
from hub.store.change import Deploy
from hub.store.store import Store

LABELS = "billing,bug,howto"


def hub(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["adapters", *map(str, arguments)], input=answer)


def refused(kind: type[HubError], *arguments: object) -> str:
    """Run a command that must raise `kind`; return the message."""
    error = hub(*arguments).exception
    assert isinstance(error, kind), error
    return str(error)


def stored() -> list[str]:
    return [str(version.ref) for version in Store(find_home()).versions()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Path]:
    """A base, and a classifier with three labels that plain PEFT saved."""
    from tests.support.tiny import tiny_adapter, tiny_encoder

    folder = tmp_path_factory.mktemp("made")
    base = tiny_encoder(folder / "tiny")
    adapter = tiny_adapter(base, folder / "tickets", kind=HeadKind.SEQUENCE, labels=LABELS.split(","))
    return base, adapter


@pytest.fixture
def tickets(made: tuple[Base, Path]) -> Path:
    """The adapter's folder, with its base pulled as `tiny`."""
    base, adapter = made
    Bases(find_home()).pull(str(base.path))
    return adapter


@pytest.fixture
def imported(tickets: Path) -> str:
    result = hub("import", tickets, "--task", "classification", "--base", "tiny", "--labels", LABELS)
    assert result.exit_code == 0, result.exception
    return "tickets@1"


def test_a_plain_peft_folder_is_imported_under_its_own_name(tickets: Path) -> None:
    result = hub("import", tickets, "--task", "classification", "--base", "tiny", "--labels", LABELS)
    assert "Stored tickets@1 for the task classification." in result.stdout
    assert "hub deploy tickets@1 --as tickets" in result.stdout
    serving = Store(find_home()).get("tickets").manifest.serving
    assert serving.labels == tuple(LABELS.split(","))
    assert serving.settings["multi_label"] is False


def test_options_of_the_task_are_checked_and_kept(tickets: Path) -> None:
    common = ("import", tickets, "x", "--task", "classification", "--base", "tiny")
    assert hub(*common, "--option", "multi_label=true", "--option", "threshold=0.25").exit_code == 0
    settings = Store(find_home()).get("x").manifest.serving.settings
    assert (settings["multi_label"], settings["threshold"]) == (True, 0.25)
    assert "threshold" in refused(BadRequest, *common, "--option", "threshold=high")
    assert "multi_label" in refused(BadRequest, *common, "--option", "thresold=1")
    assert "KEY=VALUE" in refused(BadRequest, *common, "--option", "multi_label")


def test_a_folder_without_a_manifest_needs_task_and_base(tickets: Path) -> None:
    for given in ((), ("--task", "classification"), ("--base", "tiny")):
        assert "--task (see `hub plugins list`)" in refused(BadRequest, "import", tickets, *given)
    assert "Available: tiny" in refused(
        NotFound, "import", tickets, "--task", "classification", "--base", "huge"
    )
    assert "classification" in refused(NotFound, "import", tickets, "--task", "cooking", "--base", "tiny")
    assert stored() == []


def test_an_adapter_whose_head_the_task_does_not_have_is_refused(tickets: Path) -> None:
    message = refused(BadAdapter, "import", tickets, "--task", "qa", "--base", "tiny")
    assert "needs a span head, and this adapter has a sequence head" in message
    assert stored() == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"trainable_token_indices": {"word_embeddings": [4, 7]}}, "trained token embeddings"),
        ({"modules_to_save": ["layer.1.output.dense"]}, "output.dense' was trained in full"),
    ],
)
def test_what_fits_in_no_slot_is_refused_and_served_from_a_merged_copy_when_asked(
    made: tuple[Base, Path], tickets: Path, tmp_path: Path, settings: dict[str, object], named: str
) -> None:
    from tests.support.tiny import tiny_adapter

    folder = tiny_adapter(made[0], tmp_path / "odd", kind=HeadKind.SEQUENCE, labels=("a", "b"), **settings)
    common = ("import", folder, "--task", "classification", "--base", "tiny")
    message = refused(UnsupportedAdapter, *common)
    assert named in message
    assert "--merged at import" in message
    assert stored() == []
    assert hub(*common, "--merged").exit_code == 0
    assert json.loads(hub("show", "odd", "--json").stdout)["manifest"]["serving"]["merged"] is True
    assert "a merged copy of the base" in hub("show", "odd").stdout


def test_an_adapter_that_changed_the_base_is_converted_unless_it_is_merged(
    made: tuple[Base, Path], tickets: Path, tmp_path: Path
) -> None:
    from tests.support.tiny import tiny_adapter

    folder = tiny_adapter(
        made[0], tmp_path / "odd", kind=HeadKind.SEQUENCE, labels=("a", "b"), init_lora_weights="pissa"
    )
    common = ("import", folder, "--task", "classification", "--base", "tiny")
    assert "Converted from pissa" in hub(*common).stdout
    config = json.loads((Store(find_home()).get("odd").path / "adapter_config.json").read_text())
    assert (config["r"], config["init_lora_weights"]) == (8, True)
    result = [json.loads(hub(*common, *more, "--json").stdout) for more in ((), ("--merged",))]
    assert [(each["version"], each["converted_from"]) for each in result] == [
        ("odd@1", "pissa"),
        ("odd@2", ""),
    ]


def test_a_merged_adapter_is_deployed_and_answers(
    tickets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_SERVE__ENGINE", "torch")
    plain = ("import", tickets, "plain", "--task", "classification", "--base", "tiny", "--labels", LABELS)
    assert hub(*plain).exit_code == 0
    assert hub("export", "plain", tmp_path / "out").exit_code == 0
    assert hub("import", tmp_path / "out", "copy", "--merged").exit_code == 0
    store = Store(find_home())
    assert store.get("copy").sha256 != store.get("plain").sha256
    scores = {}
    for name in ("plain", "copy"):
        assert CliRunner().invoke(app, ["deploy", name, "--as", name]).exit_code == 0
        answer = CliRunner().invoke(app, ["predict", name, "the app crashes", "--json"])
        assert answer.exit_code == 0, answer.output
        scores[name] = json.loads(answer.stdout)["scores"]
    assert scores["copy"] == pytest.approx(scores["plain"], abs=1e-4)
    assert len(set(scores["copy"].values())) == 3


def test_a_merged_adapter_that_cannot_be_merged_is_refused(tickets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(tickets, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "XLORA"}))
    common = ("import", folder, "--task", "classification", "--base", "tiny", "--merged")
    assert "XLORA" in refused(UnsupportedAdapter, *common)
    assert stored() == []


def test_an_exported_version_is_imported_by_its_manifest(imported: str, tmp_path: Path) -> None:
    exported = hub("export", imported, tmp_path / "out")
    assert str(tmp_path / "out") in exported.stdout.replace("\n", "")
    assert hub("import", tmp_path / "out", "again").exit_code == 0
    store = Store(find_home())
    assert store.get("again").sha256 == store.get("tickets").sha256
    assert "not empty" in refused(Conflict, "export", imported, tmp_path / "out")


def test_the_list_shows_where_versions_are_live(imported: str) -> None:
    Store(find_home()).deploy("live", Deploy(version=imported, by="test"))
    line = hub("list").stdout.splitlines()[1].split()
    assert line[:4] == ["tickets@1", "classification", "tiny", "live"]
    found = json.loads(hub("list", "tickets", "--json").stdout)
    assert [(each["version"], each["live_as"], each["labels"]) for each in found] == [
        ("tickets@1", ["live"], LABELS.split(","))
    ]
    assert "Available: tickets" in refused(NotFound, "list", "other")


def test_an_empty_store_shows_the_next_command() -> None:
    assert "hub train" in hub("list").stdout
    assert json.loads(hub("list", "--json").stdout) == []


def test_show_has_all_details_of_a_version(imported: str) -> None:
    result = hub("show", "tickets").stdout
    for part in ("tickets@1", "sequence head", "billing, bug, howto", "multi_label", "imported at"):
        assert part in result
    found = json.loads(hub("show", imported, "--json").stdout)
    assert found["manifest"]["serving"]["labels"] == LABELS.split(",")
    assert found["sha256"] == Store(find_home()).get(imported).sha256


def test_removing_asks_first(imported: str) -> None:
    assert "--yes" in refused(BadRequest, "rm", imported, "--json")
    assert hub("rm", imported, answer="n\n").exit_code == 1
    assert stored() == [imported]
    result = hub("rm", imported, answer="y\n")
    assert "Removed tickets@1." in result.stdout
    assert stored() == []


def test_yes_removes_without_confirmation(imported: str) -> None:
    sha256 = Store(find_home()).get(imported).sha256
    assert json.loads(hub("rm", imported, "--yes", "--json").stdout) == {
        "removed": imported,
        "sha256": sha256,
    }


def test_a_removal_must_name_a_version_that_nobody_needs(imported: str) -> None:
    assert "Available: tickets@1" in refused(InvalidName, "rm", "tickets", "--yes")
    Store(find_home()).deploy("live", Deploy(version=imported, by="test"))
    assert "is live in 'live'" in refused(Conflict, "rm", imported, "--yes")
    assert stored() == [imported]
