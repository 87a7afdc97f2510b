"""A catalog that was lost, emptied or put back from an old copy: no content goes, all can be taken back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import text

from hub.errors import NotReady
from hub.store import identity
from hub.store.adopt import adopt
from hub.store.catalog.catalog import Catalog
from hub.store.change import Deploy
from hub.store.content.content import Contents, content_hash
from hub.store.content.remote import Blobs
from hub.store.doctor import examine_store
from hub.store.manifest import Serving
from hub.store.mark import CatalogMark, CatalogState
from hub.store.store import Store

Refs = dict[str, str]


def refs(store: Store) -> Refs:
    return {str(version.ref): version.sha256 for version in store.versions()}


def contents(store: Store) -> set[str]:
    return {path.name for path in store.contents.folder.iterdir() if len(path.name) == 64}


def aged(store: Store) -> None:
    for path in store.contents.folder.iterdir():
        os.utime(path, (0, 0))


def emptied(home: Path) -> None:
    for path in home.glob("catalog.db*"):
        path.unlink()
    (home / "catalog.db").touch()


def deleted(home: Path) -> None:
    for path in home.glob("catalog.db*"):
        path.unlink()


def made_anew(home: Path) -> None:
    emptied(home)
    other = Store(home.with_name("elsewhere"))
    shutil.copyfile(other.home / "catalog.db", home / "catalog.db")


@pytest.mark.parametrize("harm", [emptied, deleted, made_anew])
def test_a_lost_catalog_is_refused_and_its_versions_come_back(stocked: Store, harm) -> None:
    before, files = refs(stocked), contents(stocked)
    manifests = {version.ref: version.manifest for version in stocked.versions()}
    aged(stocked)
    harm(stocked.home)
    for _ in range(2):
        with pytest.raises(NotReady, match="hub doctor --adopt"):
            Store(stocked.home)
    assert contents(stocked) == files

    found = Store(stocked.home, accept=True)
    assert {one.ref for one in adopt(found)} == set(before)
    assert refs(found) == before
    assert {version.ref: version.manifest for version in found.versions()} == manifests
    assert list(examine_store(Store(stocked.home))) == []


def test_an_older_copy_is_refused_and_what_it_lacks_comes_back(
    stocked: Store, peft_folder, serving, tmp_path: Path
) -> None:
    old = tmp_path / "old.db"
    stocked.catalog.write_back()
    shutil.copyfile(stocked.home / "catalog.db", old)
    for seed in range(10, 15):
        stocked.add("late", peft_folder(seed), serving, origin="trained")
    before, files = refs(stocked), contents(stocked)
    deleted(stocked.home)
    shutil.copyfile(old, stocked.home / "catalog.db")
    aged(stocked)
    with pytest.raises(NotReady, match="is an older copy"):
        Store(stocked.home).add("x", peft_folder(99), serving, origin="trained")
    assert contents(stocked) == files
    found = Store(stocked.home, accept=True)
    assert sorted(one.ref for one in adopt(found)) == [f"late@{number}" for number in range(1, 6)]
    assert refs(found) == before
    assert found.add("late", peft_folder(77), serving, origin="trained").number == 6


@pytest.mark.parametrize("change", ["deploy", "remove"])
def test_a_copy_from_before_any_change_is_older(stocked: Store, tmp_path: Path, change: str) -> None:
    stocked.deploy("live", Deploy(version="x@1", by="t"))
    old = tmp_path / "old.db"
    shutil.copyfile(stocked.home / "catalog.db", old)
    stocked.deploy("live", Deploy(version="x@2", by="t")) if change == "deploy" else stocked.remove("x@3")
    deleted(stocked.home)
    shutil.copyfile(old, stocked.home / "catalog.db")
    with pytest.raises(NotReady, match="is an older copy"):
        Store(stocked.home)


def test_a_change_by_another_process_while_a_store_opens_is_no_older_copy(
    stocked: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(mark: CatalogMark) -> CatalogState | None:
        monkeypatch.undo()
        stocked.deploy("live", Deploy(version="x@1", by="another"))
        return mark.read()

    monkeypatch.setattr(CatalogMark, "read", read)
    assert Store(stocked.home).history("live")[0].who == "another"


def test_a_store_that_is_opened_while_another_process_adds_its_first_version_waits_for_it(
    store: Store, peft_folder, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed, opening = Event(), Event()
    place, has_versions = Contents.place, identity._has_versions

    def place_and_wait(self: Contents, *arguments: Any) -> Path:
        found = place(self, *arguments)
        placed.set()
        assert opening.wait(30)
        return found

    def seen(catalog: Catalog) -> bool:
        found = has_versions(catalog)
        opening.set()
        return found

    monkeypatch.setattr(Contents, "place", place_and_wait)
    with ThreadPoolExecutor() as pool:
        added = pool.submit(store.add, "x", peft_folder(1), serving, origin="trained")
        assert placed.wait(30)
        monkeypatch.setattr(identity, "_has_versions", seen)
        assert [version.ref for version in Store(store.home).versions()] == [added.result().ref]


def test_the_newest_copy_put_back_is_taken(stocked: Store, tmp_path: Path) -> None:
    before = refs(stocked)
    shutil.copyfile(stocked.home / "catalog.db", tmp_path / "copy.db")
    emptied(stocked.home)
    shutil.copyfile(tmp_path / "copy.db", stocked.home / "catalog.db")
    assert refs(Store(stocked.home)) == before


def test_a_record_at_the_url_is_written_below_its_content_whatever_its_folder_is_called(
    tmp_path: Path, peft_folder, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, blobs = tmp_path / "replica", f"file://{tmp_path}/blobs"
    (tmp_path / "blobs").mkdir()
    with Store(home, blobs=blobs) as store:
        owner, made = store.contents.owner, store.add("x", peft_folder(), serving, origin="trained")
    records = Blobs.records
    monkeypatch.setattr(
        Blobs, "records", lambda *given: dict(zip([".."], records(*given).values(), strict=True))
    )
    shutil.rmtree(home)
    with Store(home, blobs=blobs) as store:
        assert [one.ref for one in adopt(store, owner)] == ["x@1"]
        assert refs(store) == {"x@1": made.sha256}
        assert not (store.contents.folder / "version.json").exists()


def test_a_number_that_was_given_out_again_is_not_taken_back(stocked: Store, peft_folder, serving) -> None:
    """Two catalogs gave out y@2: both contents stay, under numbers of their own."""
    lost = stocked.add("y", peft_folder(50), serving, origin="trained")
    with stocked.catalog.write() as session:
        session.execute(text("DELETE FROM versions WHERE name = 'y' AND number = 2"))
        session.execute(text("UPDATE adapters SET last_number = 1 WHERE name = 'y'"))
    again = stocked.add("y", peft_folder(51), serving, origin="trained")
    assert str(again.ref) == "y@2"
    (adopted,) = adopt(stocked)
    assert (adopted.ref, adopted.sha256) == ("y@3", lost.sha256)
    assert adopt(stocked) == []


def test_a_content_without_a_record_gets_a_name_of_its_own(stocked: Store) -> None:
    version = stocked.get("x@2")
    shutil.rmtree(version.path / "x@2")
    deleted(stocked.home)
    found = Store(stocked.home, accept=True)
    adopt(found)
    assert refs(found)[f"recovered-{version.sha256[:12]}@1"] == version.sha256


@pytest.mark.parametrize("harm", ["weights", "record"])
def test_what_does_not_have_its_hash_is_not_adopted(stocked: Store, harm: str) -> None:
    version = stocked.get("x@2")
    deleted(stocked.home)
    if harm == "weights":
        (version.path / "adapter_model.safetensors").write_bytes(b"altered")
    else:
        record = version.path / "x@2" / "version.json"
        record.write_text(record.read_text().replace("classification", "sentiment"))
    found = Store(stocked.home, accept=True)
    (left,) = [one for one in adopt(found) if not one.ref]
    assert left.sha256 == version.sha256
    assert version.path.is_dir()
    assert "x@2" not in refs(found)


def test_the_doctor_names_what_the_catalog_lacks(stocked: Store) -> None:
    version = stocked.get("x@2")
    with stocked.catalog.write() as session:
        session.execute(text("DELETE FROM versions WHERE name = 'x' AND number = 2"))
    aged(stocked)
    (finding,) = [one for one in examine_store(Store(stocked.home)) if one.code == "content_unknown"]
    assert version.sha256 in finding.where
    assert "x@2" in finding.what
    assert finding.fix is None


def test_a_mark_that_cannot_be_written_or_read_fails_nothing(
    store: Store, peft_folder, serving, monkeypatch, caplog
) -> None:
    def no_space(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hub.store.mark.write_file", no_space)
        store.add("x", peft_folder(1), serving, origin="trained")
    assert "cannot be written: No space left on device" in caplog.text
    (store.contents.folder / ".catalog.json").write_text("[" * 100_000)
    assert refs(Store(store.home)) == refs(store)


def opener(tmp_path: Path, url: str) -> Callable[[str], Store]:
    return lambda name: Store(tmp_path / name, url, f"file://{tmp_path}/shared")


def test_replicas_that_share_a_url_recognise_an_emptied_postgres_catalog(
    postgres_url: str, peft_folder, serving, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    here, there = (opener(tmp_path, postgres_url)(name) for name in ("here", "there"))
    version = here.add("x", peft_folder(1), serving, origin="trained")
    there.fetch(there.add("y", peft_folder(2), serving, origin="trained"))
    before = refs(here)
    with here.catalog.write() as session:
        session.connection().exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for name in ("here", "there"):
        with pytest.raises(NotReady, match="another catalog"):
            opener(tmp_path, postgres_url)(name)
    assert {path.name for path in (tmp_path / "shared").iterdir()} == set(before.values())
    former = here.contents.owner
    found = Store(tmp_path / "here", postgres_url, f"file://{tmp_path}/shared", accept=True)
    adopt(found, former)
    assert refs(found) == before, "also what only the URL had"
    assert content_hash(found.fetch(found.get("y@1")), serving) == before["y@1"]
    assert version.path.is_dir()
    for store in (here, there, found):
        store.close()
