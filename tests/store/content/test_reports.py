"""Reports beside versions: shared by URL, gone with the version, and no part of what the version is."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.store.content.content import content_hash
from hub.store.doctor import examine_store
from hub.store.store import Store

FILES = {"report.html": "<html>", "README.md": "---\n", "report.json": "{}"}


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_another_machine_reads_a_report_from_the_url(tmp_path: Path, peft_folder, serving, kind: str) -> None:
    (tmp_path / "shared").mkdir()
    url = f"file://{tmp_path}/shared" if kind == "file" else "memory://reports/here"
    here, there = (Store(tmp_path / name, f"sqlite:///{tmp_path}/c.db", url) for name in ("one", "two"))
    version = here.add("x", peft_folder(), serving, origin="trained")
    assert there.reports.read(there.get("x")) is None
    here.reports.keep(version, FILES)
    assert there.reports.read(there.get("x")) == "{}"
    there.remove("x@1")
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_report_changes_no_hash_and_disturbs_no_check(store: Store, peft_folder, serving) -> None:
    version = store.add("x", peft_folder(), serving, origin="trained")
    store.reports.keep(version, FILES)
    assert content_hash(version.path, serving) == version.sha256
    assert not [one for one in examine_store(store) if one.code.startswith(("content", "manifest", "copy"))]


def test_of_two_names_for_one_content_each_has_a_report_of_its_own(
    store: Store, peft_folder, serving
) -> None:
    one = store.add("x", peft_folder(), serving, origin="trained")
    other = store.add("y", peft_folder(), serving, origin="trained")
    store.reports.keep(one, FILES)
    store.reports.keep(other, FILES | {"report.json": "[]"})
    store.remove("x@1")
    assert store.reports.read(one) is None
    assert store.reports.read(other) == "[]"
