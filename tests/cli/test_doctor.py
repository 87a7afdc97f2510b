"""`hub doctor`: the damage it finds in a state folder, and the repairs of --fix."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from grafthub_sentiment.task import SentimentTask
from typer.testing import CliRunner

from hub.cli.main import app
from hub.client import doctor, server_file
from hub.config import find_home
from hub.registry.host import Registry
from hub.store.change import Deploy
from hub.store.importing import import_version
from hub.store.store import Store


def run(*args: str) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(app, ["doctor", "--json", *args], catch_exceptions=False)
    report = json.loads(result.stdout)
    assert report["ok"] == (result.exit_code == 0)
    return result.exit_code, report["findings"]


def one(code: str, *args: str) -> dict[str, Any]:
    """Return the only finding, which has to be of that code and call for mending."""
    status, findings = run(*args)
    assert [finding["code"] for finding in findings] == [code]
    assert status == 1
    return findings[0]


def repaired(code: str) -> None:
    """Mend the only finding; afterwards there is none."""
    assert one(code)["fixable"]
    status, findings = run("--fix")
    assert (status, [finding["repaired"] for finding in findings]) == (0, [True])
    assert run() == (0, [])


def aged(path: Path) -> Path:
    then = time.time() - 7200
    os.utime(path, (then, then))
    return path


def sql(statement: str) -> None:
    with closing(sqlite3.connect(find_home() / "catalog.db", isolation_level=None)) as connection:
        connection.executescript(statement)


@pytest.fixture
def live(fake_home):
    """mood@1 is live."""
    fake_home.store.deploy("mood", Deploy(version=fake_home.add("mood", seed=1).ref, by="test"))
    return fake_home


def test_a_sound_home_has_nothing_to_mend(live) -> None:
    assert run() == (0, [])
    assert "Nothing to repair" in CliRunner().invoke(app, ["doctor"]).stdout


def test_a_home_that_is_not_there_is_not_made() -> None:
    assert run() == (0, [])
    assert not find_home().exists()


def test_missing_files_are_reported_with_their_deployments(live) -> None:
    shutil.rmtree(live.store.get("mood@1").path)
    found = one("content_missing")
    assert found["where"].startswith("mood@1")
    assert "the stable version of 'mood'" in found["what"]
    assert not found["fixable"]


def test_altered_weights_are_reported_and_repaired_by_an_import(live, tmp_path) -> None:
    version = live.store.get("mood@1")
    copy = live.store.export("mood@1", tmp_path / "copy")
    with (version.path / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    one("content_altered")
    assert one("content_altered", "--fix")["repaired"] is None
    import_version(live.store, copy, "mood")
    assert run() == (0, [])
    assert live.store.versions()[0].sha256 == version.sha256


@pytest.mark.parametrize("harm", ["gone", "cut off"])
def test_a_manifest_is_written_again(live, harm) -> None:
    manifest = live.store.get("mood@1").path / "manifest.json"
    before = manifest.read_text()
    manifest.unlink() if harm == "gone" else manifest.write_text(before[:40])
    repaired("manifest_lost")
    assert manifest.read_text() == before


def test_a_fresh_content_without_a_row_is_no_damage(live) -> None:
    (live.path / "adapters" / ("a" * 64)).mkdir()
    live.store.contents.note("a" * 64)
    (live.path / "adapters" / ".incoming-x").mkdir()
    status, findings = run("--fix")
    assert status == 0
    assert {finding["code"] for finding in findings} == {"content_unnamed", "content_unfinished"}
    assert (live.path / "adapters" / ("a" * 64)).is_dir()


@pytest.mark.parametrize("name", [".server.json.x.part", "adapters/.x.part", "tmpx", "cache/engines/x.part"])
def test_what_a_killed_process_left_is_removed_once_it_is_old(live, name) -> None:
    left = live.path / name
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    status, findings = run("--fix")
    assert (status, [finding["code"] for finding in findings]) == (0, ["leftover"])
    assert left.exists(), "it is young, and may be in use"
    aged(left)
    repaired("leftover")
    assert not left.exists()


def test_an_old_folder_in_which_something_is_written_now_is_young(live) -> None:
    left = live.path / "cache" / "packages" / ".pip-x"
    left.mkdir(parents=True)
    (left / "adapter_model.safetensors").touch()
    aged(left)
    assert run("--fix")[0] == 0
    assert left.is_dir()


def test_a_base_that_a_deployment_needs(live) -> None:
    (live.base.path / "base.json").unlink()
    found = one("base_missing")
    assert found["remedy"] == f"hub base pull {live.base.source}"
    assert "mood@1" in found["what"]


def test_a_damaged_base(live) -> None:
    (live.base.path / "base.json").write_text("{}")
    one("base_damaged")


def test_a_plugin_that_a_deployment_needs(live, monkeypatch) -> None:
    monkeypatch.setenv("HUB_PLUGINS__DISABLED", '["sentiment"]')
    found = one("plugin_missing")
    assert "mood" in found["what"]
    assert "hub plugins enable" in found["what"]


def test_settings_of_a_plugin_that_is_not_installed(live, monkeypatch) -> None:
    monkeypatch.setenv("HUB_PLUGINS__ACME_MAILBOX__ROOT", "/srv")
    assert one("plugin_section")["where"] == "plugins.acme_mailbox"


def test_a_live_version_made_with_another_release_of_its_plugin(live, monkeypatch) -> None:
    plugin = Registry.load().plugin_of("sentiment").model_copy(update={"version": "0.9"})
    live.add("mood", seed=2, plugin=plugin)
    assert run() == (0, [])
    monkeypatch.setattr(SentimentTask, "adapter_format", 2)
    status, (found,) = run()
    assert (status, found["code"], found["severity"]) == (0, "adapter_misfit", "info")
    live.store.deploy("mood", Deploy(version="mood@2", by="test"))
    found = one("adapter_misfit")
    assert "mood@2 was made with grafthub-sentiment 0.9" in found["what"]
    assert "It serves mood." in found["what"]


def test_a_live_version_whose_labels_the_task_cannot_use(live) -> None:
    live.store.deploy("mood", Deploy(version=live.add("mood", seed=2, labels=("glad", "sad")).ref, by="test"))
    assert "polarity of label 'glad' is not known" in one("adapter_misfit")["what"]


def test_a_generation_behind_the_events_is_raised(live) -> None:
    sql("UPDATE generation SET value = 0")
    repaired("generation_behind")
    live.store.deploy("other", Deploy(version="mood@1", by="test"))
    assert live.store.generation() == 2


def test_a_lost_event(live) -> None:
    sql("DROP TRIGGER events_no_delete; DELETE FROM deployment_events")
    assert not one("events_lost")["fixable"]


def test_a_row_that_names_nothing(live) -> None:
    sql("PRAGMA foreign_keys=OFF; DELETE FROM versions")
    one("catalog_loose_rows")


def test_a_manifest_in_the_catalog_that_cannot_be_read(live) -> None:
    sql("UPDATE versions SET manifest = '{}'")
    assert "manifest_damaged" in {finding["code"] for finding in run()[1]}


def test_a_damaged_catalog(live) -> None:
    path = live.path / "catalog.db"
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = b"\xff" * (len(damaged) - 4096)
    path.write_bytes(damaged)
    assert one("catalog_damaged")["severity"] == "error"


def test_a_file_that_is_no_catalog(live) -> None:
    (live.path / "catalog.db").write_bytes(b"no database" * 1000)
    one("catalog_damaged")


def test_a_lost_catalog_is_made_again_from_the_contents(live) -> None:
    before = {str(version.ref) for version in live.store.versions()}
    (live.path / "catalog.db").unlink()
    printed = CliRunner().invoke(app, ["doctor", "--adopt", "--json"])
    report = json.loads(printed.stdout)
    assert {found["ref"] for found in report["adopted"]} == before
    assert (printed.exit_code, report["findings"]) == (0, [])
    assert {str(version.ref) for version in Store(live.path).versions()} == before


def test_a_missing_catalog_is_reported_and_not_created(live) -> None:
    (live.path / "catalog.db").unlink()
    assert "Put the newest copy of the catalog back" in one("catalog_unusable")["what"]
    assert "catalog_unusable" in {finding["code"] for finding in run("--fix")[1]}
    assert list((live.path / "adapters").glob("[0-9a-f]*"))


def test_copies_of_contents_at_a_url(live, tmp_path, monkeypatch) -> None:
    """What is at the URL is not damage here; what is neither here nor there is."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("HUB_STORE__BLOBS", shared.as_uri())
    version = live.store.get("mood@1")
    Store(live.path, blobs=shared.as_uri()).contents.publish(version.path, version.sha256, version.manifest)
    (version.path / "adapter_config.json").write_text("{}")
    status, findings = run()
    assert (status, findings[0]["code"]) == (0, "copy_altered")
    assert run("--fix")[1][0]["repaired"]
    assert run() == (0, [])
    shutil.rmtree(version.path)
    assert run() == (0, [])
    shutil.rmtree(shared / version.sha256)
    one("content_missing")


def test_the_record_of_a_server_that_was_killed(live) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    server_file.write(
        live.path, server_file.ServerRecord("http://127.0.0.1:9", dead.pid, "2026-01-01T00:00:00+00:00")
    )
    status, findings = run()
    assert (status, findings[0]["code"]) == (0, "server_record_stale")
    assert run("--fix")[1][0]["repaired"]
    assert not (live.path / "server.json").exists()


def test_the_record_of_a_server_that_lives_is_left_alone(live) -> None:
    server_file.write(
        live.path, server_file.ServerRecord("http://127.0.0.1:9", os.getpid(), "2026-01-01T00:00:00+00:00")
    )
    assert run("--fix")[1][0]["code"] == "server_silent"
    assert (live.path / "server.json").exists()


def test_a_training_that_did_not_finish_is_mentioned_and_one_that_runs_is_not(live) -> None:
    work = live.path / "runs" / "mood"
    (work / "checkpoints").mkdir(parents=True)
    status, findings = run("--fix")
    assert (status, findings[0]["code"], findings[0]["repaired"]) == (0, "training_unfinished", None)
    with FileLock(work / ".lock"):
        assert run() == (0, [])


@pytest.mark.parametrize("name", ["admin", "session"])
def test_a_key_that_others_may_read(live, name) -> None:
    key = live.path / f"{name}.key"
    key.write_text("k" * 32)
    key.chmod(0o644)
    repaired(f"{name}_key_open")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_key_of_tls_that_others_may_read(live, monkeypatch) -> None:
    key = live.path / "tls.key"
    key.write_text("k")
    key.chmod(0o640)
    for name in ("KEY", "CERT"):
        monkeypatch.setenv(f"HUB_SERVE__TLS_{name}", str(key))
    repaired("tls_key_open")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_catalog_that_others_may_read(live) -> None:
    catalog = live.path / "catalog.db"
    assert stat.S_IMODE(catalog.stat().st_mode) == 0o600, "made so"
    catalog.chmod(0o664)
    repaired("catalog_open")
    assert stat.S_IMODE(catalog.stat().st_mode) == 0o600


def test_in_a_folder_of_its_owner_modes_do_not_matter(live) -> None:
    (live.path / "catalog.db").chmod(0o664)
    live.path.chmod(0o700)
    assert run() == (0, [])


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('[serve]\napi_keys = ["a-key-of-some-length"]\n', True),
        ('[serve]\nadmin_key = "a-key-of-some-length"\n', True),
        (f'[serve]\napi_keys = ["sha256:{"0" * 64}"]\n', False),
        ("[serve]\nport = 3001\n", False),
    ],
)
def test_settings_with_keys_that_others_may_read(live, tmp_path, monkeypatch, text, secret) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "hub.toml"
    config.write_text(text)
    tmp_path.chmod(0o755)
    config.chmod(0o644)
    if secret:
        repaired("config_open")
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
    else:
        assert run() == (0, [])


def test_a_disk_that_is_nearly_full(live, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "LOW_DISK", 1 << 62)
    one("disk_low")


def test_a_disk_that_is_full(live, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "free_bytes", lambda home: 4096)
    status, findings = run()
    assert (status, findings[0]["code"], findings[0]["severity"]) == (1, "disk_full", "error")


def test_a_failed_fix_has_its_reason(live, monkeypatch) -> None:
    monkeypatch.setattr("hub.store.doctor.LOCK_S", 0.01)
    (live.store.get("mood@1").path / "manifest.json").unlink()
    examine, other = doctor.examine, Store(live.path)

    def locked_meanwhile(settings):
        found = examine(settings)
        other.contents.lock.acquire()
        return found

    monkeypatch.setattr(doctor, "examine", locked_meanwhile)
    found = one("manifest_lost", "--fix")
    assert (found["repaired"], found["failure"]) == (False, "Another process holds the lock of the store.")


def test_the_table_has_remedies(live) -> None:
    shutil.rmtree(live.store.get("mood@1").path)
    result = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    for word in ("SEVERITY", "content_missing", "mood@1", "Import it again", "1 to repair"):
        assert word in result.stdout


def test_the_operations_page_lists_every_code() -> None:
    root = Path(__file__).parents[2]
    source = "".join((root / "hub" / layer / "doctor.py").read_text() for layer in ("store", "client"))
    codes = set(re.findall(r'(?:Finding\(\s*|return |else )"([a-z_]+)"', source))
    page = (root / "docs" / "operations.md").read_text().partition("## Checks of the state folder")[2]
    table = page.partition("\n## ")[0]
    assert "content_altered" in codes
    assert codes - set(re.findall(r"`([a-z_]+)`", table)) == set()
