"""Versions between hubs, backups and retention, on stores with fake adapters."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.api import HeadKind
from hub.cli.context import Context
from hub.config import Settings, load_settings
from hub.errors import BadAdapter, BadRequest, BaseMismatch, Conflict, HubError, NotFound
from hub.keys import Scopes
from hub.names import parse_version_ref
from hub.store.catalog.keys import ApiKeys
from hub.store.change import Deploy
from hub.store.store import Store
from hub.transfer.archive import read_archive, write_archive
from hub.transfer.backup import back_up, restore
from hub.transfer.depot import Depot, file_system, opened, shown_url
from hub.transfer.move import archive_of, pull_from_depot, push_to_depot, receive
from hub.transfer.retention import plan_removal, remove_planned
from tests.support.homes import FakeHome, add_version, plain_adapter
from tests.support.serving import tiny_base_folder

__all__ = ["tiny_base_folder"]


@pytest.fixture
def staging(tmp_path: Path, tiny_base_folder: Path) -> FakeHome:
    return FakeHome(tmp_path / "staging", tiny_base_folder)


@pytest.fixture
def production(tmp_path: Path, tiny_base_folder: Path) -> FakeHome:
    return FakeHome(tmp_path / "production", tiny_base_folder)


def context(home: FakeHome) -> Context:
    return Context(settings_of(home.path))


def settings_of(home: Path) -> Settings:
    return load_settings(flags={"home": str(home)})


def archive(home: FakeHome, ref: str = "mood@1") -> bytes:
    with archive_of(home.store, ref) as (_, file):
        return file.read()


def test_a_version_arrives_as_it_was(staging: FakeHome, production: FakeHome) -> None:
    sent = staging.add("mood", seed=1)
    production.add("mood", seed=9)
    received = receive(io.BytesIO(archive(staging)), context(production))
    assert str(received.version.ref) == "mood@2"
    assert received.version.sha256 == sent.sha256
    assert received.sent.ref == "mood@1"
    again = receive(io.BytesIO(archive(staging)), context(production))
    assert again.version.ref == received.version.ref


def test_a_version_goes_by_a_depot(staging: FakeHome, production: FakeHome, tmp_path: Path) -> None:
    depot = str(tmp_path / "depot")
    for seed in (1, 2):
        staging.add("mood", seed=seed)
        push_to_depot(staging.store, f"mood@{seed}", depot)
    newest = pull_from_depot(depot, parse_version_ref("mood"), context(production), name="feelings")
    assert (newest.sent.ref, str(newest.version.ref)) == ("mood@2", "feelings@1")
    with pytest.raises(Conflict, match="exists"):
        push_to_depot(staging.store, "mood@1", depot)
    push_to_depot(staging.store, "mood@1", depot, replace=True)
    with pytest.raises(NotFound, match=r"mood@1, mood@2"):
        pull_from_depot(depot, parse_version_ref("mood@3"), context(production))
    assert [path.name for path in Path(depot, "mood").iterdir() if path.name.startswith(".")] == []


def test_a_depot_may_be_at_any_url(staging: FakeHome, production: FakeHome) -> None:
    staging.add("mood", seed=1)
    push_to_depot(staging.store, "mood@1", "memory://depot-of-a-test")
    assert Depot("memory://depot-of-a-test").numbers("mood") == [1]
    received = pull_from_depot("memory://depot-of-a-test", parse_version_ref("mood"), context(production))
    assert received.version.sha256 == staging.store.get("mood@1").sha256


@pytest.mark.parametrize("place", ["memory://half/hub.tar", "local"])
def test_what_fails_while_it_is_written_leaves_nothing(place: str, tmp_path: Path) -> None:
    url = str(tmp_path / "hub.tar") if place == "local" else place
    with pytest.raises(BadAdapter), opened(url, "wb") as stream:
        stream.write(b"half")
        raise BadAdapter("a version is damaged")
    with pytest.raises(NotFound), opened(url, "rb"):
        pass


@pytest.mark.parametrize("name", ["", "backups"])
def test_a_backup_is_no_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("backups").mkdir()
    with pytest.raises(BadRequest, match="is a folder"), opened(name, "wb"):
        pass


def test_a_depot_has_a_url(staging: FakeHome) -> None:
    staging.add("mood", seed=1)
    with pytest.raises(BadRequest, match="is empty"):
        push_to_depot(staging.store, "mood@1", "")


@pytest.mark.parametrize("size", [4, 7 << 20])
@pytest.mark.parametrize("place", ["memory://kept/hub.tar", "local", "s3"])
def test_what_fails_while_it_is_written_leaves_what_was_there(
    place: str, size: int, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = {"local": str(tmp_path / "hub.tar")}.get(place, place)
    if place == "s3":
        request.getfixturevalue("fresh_s3")
        url = f"{request.getfixturevalue('s3_url')}/hub.tar"
        monkeypatch.setattr("s3fs.S3FileSystem.default_block_size", 5 << 20)  # the larger has two parts
    with opened(url, "wb") as stream:
        stream.write(b"of yesterday")
    with pytest.raises(BadAdapter), opened(url, "wb") as stream:
        stream.write(b"h" * size)
        raise BadAdapter("a version is damaged")
    gc.collect()  # a file that was only left would be closed, and stored, by this
    with opened(url, "rb") as stream:
        assert stream.read() == b"of yesterday"
    with opened(url, "wb") as stream:
        stream.write(b"h" * size)
    with opened(url, "rb") as stream:
        assert stream.read() == b"h" * size
    fs, path = file_system(url)
    assert [str(one).rpartition("/")[2] for one in fs.ls(path.rpartition("/")[0], detail=False)] == [
        "hub.tar"
    ]


@pytest.mark.parametrize("url", ["nowhere://x/y", "memory://nothing/here.tar", "/no/such/file.tar"])
def test_a_place_that_is_not_there_is_named_without_its_password(url: str) -> None:
    with pytest.raises(HubError) as caught, opened(url, "rb"):
        pass
    assert url.partition("://")[2] in str(caught.value)
    assert shown_url("s3://key:secret@bucket/x") == "s3://bucket/x"


def test_a_version_needs_its_base(staging: FakeHome, tmp_path: Path) -> None:
    staging.add("mood", seed=1)
    with pytest.raises(BaseMismatch, match="hub base pull"):
        receive(io.BytesIO(archive(staging)), Context(settings_of(tmp_path / "empty")))


def changed(data: bytes, name: str, edit: bytes | None, rename: str = "") -> bytes:
    """Return an archive with one member's content replaced, or the member left out."""
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=made, mode="w") as target:
        for member in source:
            content = source.extractfile(member)
            assert content
            text = content.read()
            if member.name == name:
                if edit is None:
                    continue
                text = edit
            copied = tarfile.TarInfo(rename if rename and member.name == name else member.name)
            copied.size = len(text)
            target.addfile(copied, io.BytesIO(text))
    return made.getvalue()


def sparse(name: str, size: int) -> bytes:
    """Return a tar file of 2 kB with a file of zeros of any size, as GNU tar writes it."""
    member = tarfile.TarInfo(name)
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"%011o\0" % size, b"%011o\0" % 0  # one piece, empty, at the end
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def test_a_file_that_is_larger_than_the_archive_is_refused(tmp_path: Path) -> None:
    for folder in ("version", "home"):
        (tmp_path / folder).mkdir()
    with pytest.raises(BadAdapter, match="no version has"):
        read_archive(io.BytesIO(sparse("adapter_model.safetensors", 3 << 20)), tmp_path / "version")
    with pytest.raises(BadAdapter, match="no backup has"):
        restore(io.BytesIO(sparse("catalog.db", 3 << 20)), settings_of(tmp_path / "home"))
    assert list((tmp_path / "version").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "edit", "rename"),
    [
        ("adapter_config.json", b"{}", ""),
        ("adapter_model.safetensors", b"", ""),
        ("manifest.json", None, ""),
        ("version.json", b"[]", ""),
        ("version.json", b'{"format": 2}', ""),
        ("version.json", b"{}", "../version.json"),
        ("version.json", b"{}", "/tmp/version.json"),
        ("version.json", b"{}", "extra.pkl"),
    ],
)
def test_an_altered_archive_is_refused(
    staging: FakeHome, production: FakeHome, name: str, edit: bytes | None, rename: str
) -> None:
    staging.add("mood", seed=1)
    with pytest.raises(BadAdapter):
        receive(io.BytesIO(changed(archive(staging), name, edit, rename)), context(production))
    assert production.store.versions() == []


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as target:
        link = tarfile.TarInfo("manifest.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        target.addfile(link)
    with pytest.raises(BadAdapter, match="member"):
        read_archive(io.BytesIO(made.getvalue()), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def one_archive(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> bytes:
    home = FakeHome(tmp_path_factory.mktemp("archive"), tiny_base_folder)
    home.add("mood", seed=1)
    return archive(home)


@given(cut=st.floats(0, 0.999), flip=st.integers(0, 10**9))
@settings(max_examples=40, deadline=None)
def test_a_damaged_archive_is_an_error_of_ours(one_archive: bytes, cut: float, flip: int) -> None:
    import tempfile

    data = bytearray(one_archive[: int(len(one_archive) * (1 - cut))])
    if data:
        data[flip % len(data)] ^= 0xFF
    with tempfile.TemporaryDirectory() as folder:
        try:
            record = read_archive(io.BytesIO(bytes(data)), Path(folder))
        except HubError:
            return
    # A bit of tar's own padding, or of a field of the record that the hash does not cover.
    assert record.sha256 in one_archive.decode("latin-1")


def test_a_backup_is_restored_elsewhere(staging: FakeHome, tmp_path: Path, tiny_base_folder: Path) -> None:
    store = staging.store
    for seed in (1, 2):
        staging.add("mood", seed=seed)
    staging.add("topic", seed=3)
    store.deploy("mood", Deploy(version="mood@1", by="ana", reason="first"))
    store.deploy("mood", Deploy(version="mood@2", by="ben", canary=10))
    key, text = ApiKeys(store.catalog).create("desk", Scopes.parse(["infer"]))
    made = io.BytesIO()
    about = back_up(store, made)
    assert (about.versions, about.deployments) == (3, 1)
    elsewhere = tmp_path / "elsewhere"
    restored = restore(io.BytesIO(made.getvalue()), settings_of(elsewhere))
    assert [base["name"] for base in restored.missing] == [staging.base.name]
    with Store(elsewhere) as found:
        assert [(str(one.ref), one.sha256) for one in found.versions()] == [
            (str(one.ref), one.sha256) for one in store.versions()
        ]
        canary = found.deployment("mood").canary
        assert canary
        assert (str(canary.version.ref), canary.percent) == ("mood@2", 10)
        assert [event.who for event in found.history("mood")] == ["ana", "ben"]
        assert found.generation() == store.generation()
        assert ApiKeys(found.catalog).all()[0].sha256 == key.sha256
        assert found.catalog.state().catalog != store.catalog.state().catalog
        assert all(found.fetch(one).is_dir() for one in found.versions())
        found.bases.pull(str(tiny_base_folder), tiny_base_folder.name)
    again = FakeHome(elsewhere, tiny_base_folder)
    assert str(again.add("mood", seed=7).ref) == "mood@3"
    assert text.encode() not in made.getvalue()


def test_a_backup_has_what_is_removed_while_it_is_written(staging: FakeHome, tmp_path: Path) -> None:
    refs = [str(staging.add(name, seed=seed).ref) for seed, name in enumerate(("mood", "topic"))]
    left, made = list(refs), io.BytesIO()

    def remove(stage: str, done: int, total: int, note: str = "") -> None:
        while left:
            staging.store.remove(left.pop())

    back_up(staging.store, made, remove)
    assert not left
    assert list(staging.store.contents.all()) == []
    assert list(staging.store.contents.folder.glob(".incoming-*")) == []
    restore(io.BytesIO(made.getvalue()), settings_of(tmp_path / "elsewhere"))
    with Store(tmp_path / "elsewhere") as found:
        assert [str(one.ref) for one in found.versions()] == refs


def test_a_backup_is_made_where_files_cannot_be_linked(
    staging: FakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging.add("mood")
    linked, copied = io.BytesIO(), io.BytesIO()
    back_up(staging.store, linked)

    def refused(*paths: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    back_up(staging.store, copied)
    names = []
    for made in (linked, copied):
        with tarfile.open(fileobj=io.BytesIO(made.getvalue())) as archive:
            names.append(archive.getnames())
    assert names[0] == names[1]
    assert len(names[0]) > 5


def test_a_backup_goes_into_an_empty_home_only(staging: FakeHome, production: FakeHome) -> None:
    staging.add("mood", seed=1)
    production.add("mood", seed=2)
    made = io.BytesIO()
    back_up(staging.store, made)
    with pytest.raises(Conflict, match="empty"):
        restore(io.BytesIO(made.getvalue()), settings_of(production.path))
    assert len(production.store.versions()) == 1


@pytest.mark.parametrize("damage", ["cut", "altered", "extra", "nonsense"])
def test_a_damaged_backup_leaves_nothing(staging: FakeHome, tmp_path: Path, damage: str) -> None:
    version = staging.add("mood", seed=1)
    made = io.BytesIO()
    back_up(staging.store, made)
    data = made.getvalue()
    weights = f"adapters/{version.sha256}/adapter_model.safetensors"
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "altered":
        data = changed(data, weights, b"other")
    elif damage == "extra":
        data = changed(data, "catalog.db", b"", "../../catalog.db")
    else:
        data = b"no tar file" * 1000
    home = tmp_path / "elsewhere"
    with pytest.raises(BadAdapter):
        restore(io.BytesIO(data), settings_of(home))
    assert not (home / "catalog.db").exists()
    assert [path.name for path in home.iterdir()] == []


def test_a_version_with_altered_files_is_not_sent(staging: FakeHome) -> None:
    version = staging.add("mood", seed=1)
    (version.path / "adapter_config.json").write_text(json.dumps({"r": 1}))
    with pytest.raises(BadAdapter, match="altered"):
        write_archive(version, io.BytesIO())
    with pytest.raises(BadAdapter, match="altered"):
        back_up(staging.store, io.BytesIO())


def test_old_versions_go_and_needed_ones_stay(staging: FakeHome) -> None:
    for seed in range(5):
        staging.add("mood", seed=seed)
    staging.add("topic", seed=9)
    staging.store.deploy("mood", Deploy(version="mood@1", by="ana"))
    staging.store.deploy("mood", Deploy(version="mood@2", by="ana"))
    plan = plan_removal(staging.store, keep_last=1)
    assert [str(one.ref) for one in plan.remove] == ["mood@3", "mood@4"]
    assert {str(kept.version.ref): kept.reason for kept in plan.keep} == {
        "mood@1": "previous in mood",
        "mood@2": "live in mood",
    }
    assert plan.bytes > 0
    staging.store.deploy("late", Deploy(version="mood@4", by="somebody else"))
    assert [str(one.ref) for one in remove_planned(staging.store, plan)] == ["mood@3"]
    left = [str(one.ref) for one in staging.store.versions()]
    assert left == ["mood@1", "mood@2", "mood@4", "mood@5", "topic@1"]
    with pytest.raises(NotFound):
        plan_removal(staging.store, keep_last=1, name="nothing")


def test_a_catalog_moves_between_postgresql_and_a_file(
    postgres_url: str, staging: FakeHome, tmp_path: Path, tiny_base_folder: Path
) -> None:
    staging.add("mood", seed=1)
    staging.store.deploy("mood", Deploy(version="mood@1", by="ana"))
    first, second = io.BytesIO(), io.BytesIO()
    back_up(staging.store, first)
    first.seek(0)
    cluster = load_settings(flags={"home": str(tmp_path / "cluster"), "catalog": {"url": postgres_url}})
    assert restore(first, cluster).backup.versions == 1
    with Store.of(cluster) as store:
        base = store.bases.pull(str(tiny_base_folder), tiny_base_folder.name)
        adapter = plain_adapter(tmp_path / "adapter", kind=HeadKind.SEQUENCE, num_labels=2, seed=2)
        assert str(add_version(store, base, "mood", adapter).ref) == "mood@2"  # numbers go on
        back_up(store, second)
    second.seek(0)
    with pytest.raises(Conflict, match="not empty"):
        restore(second, cluster.model_copy(update={"home": tmp_path / "other"}))
    second.seek(0)
    restore(second, settings_of(tmp_path / "file"))
    with Store(tmp_path / "file") as found:
        assert [str(one.ref) for one in found.versions()] == ["mood@1", "mood@2"]
        assert str(found.deployment("mood").stable.ref) == "mood@1"
