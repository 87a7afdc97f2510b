"""Contents at a URL: what a crash, a bad network and other machines may do to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from hub.config import load_settings
from hub.errors import BadAdapter, BadConfig, Conflict, MissingExtra, SourceUnavailable
from hub.store.content import remote as blobs
from hub.store.content.content import content_hash
from hub.store.content.remote import Blobs
from hub.store.manifest import Manifest, Serving
from hub.store.store import Store
from tests.fixtures.s3 import S3Server

FILES = ("adapter_config.json", "adapter_model.safetensors", "manifest.json")
WEIGHTS = FILES[1]


class Crash(BaseException):
    """Ends a process, as far as the code under test can tell."""


def crash(*given, **options) -> None:
    raise Crash


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder behind the URL that the homes share."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.fixture
def machine(tmp_path: Path, place: Path) -> Callable[..., Store]:
    """Return an opener of homes that share a catalog and a URL, as two machines would."""

    def open_home(name: str, url: str = "") -> Store:
        return Store(tmp_path / name, f"sqlite:///{tmp_path}/catalog.db", url or f"file://{place}")

    return open_home


@pytest.fixture
def here(machine) -> Store:
    return machine("here")


@pytest.fixture
def there(machine) -> Store:
    return machine("there")


def intact(version, folder: Path) -> bool:
    return content_hash(folder, version.manifest.serving) == version.sha256


def cached(store: Store) -> set[str]:
    return {path.name for path in store.contents.folder.glob("*") if not path.name.startswith(".")}


def at(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def age(folder: Path) -> None:
    for path in (folder, *folder.iterdir()):
        os.utime(path, (time.time() - 7200,) * 2)


def test_what_one_machine_stores_another_one_fetches(here, there, place, peft_folder, serving) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    assert {path.name for path in (place / version.sha256).iterdir()} == {*FILES, "owners", "x@1"}
    found = there.get("x")
    assert cached(there) == set()
    assert there.fetch(found) == found.path
    assert intact(found, found.path)
    assert Manifest.model_validate_json((found.path / "manifest.json").read_bytes()) == version.manifest
    assert {path.name for path in found.path.iterdir()} == set(FILES)


def test_an_export_fetches_what_is_not_here(here, there, peft_folder, serving, tmp_path: Path) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    assert intact(version, there.export("x@1", tmp_path / "out"))


def test_any_kind_of_file_system_will_do(machine, peft_folder, serving) -> None:
    url = "memory://some/where"
    version = machine("here", url).add("x", peft_folder(), serving, origin="trained")
    there = machine("there", url)
    assert intact(version, there.fetch(there.get("x")))
    there.remove("x@1")
    assert not MemoryFileSystem().find("/some/where")


def test_what_is_here_already_is_not_asked_for(here, place, peft_folder, serving) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    place.rename(place.with_name("gone"))
    assert intact(version, here.fetch(version))


def test_an_altered_copy_here_is_fetched_again(here, place, peft_folder, serving) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    (version.path / WEIGHTS).write_bytes(b"altered")
    assert intact(version, here.fetch(version))
    assert cached(here) == {version.sha256}


def test_a_home_moves_to_a_url_by_copying_its_contents(
    store: Store, place, peft_folder, serving, tmp_path: Path
) -> None:
    version = store.add("x", peft_folder(), serving, origin="trained")
    shutil.copytree(version.path, place / version.sha256)
    there = Store(tmp_path / "there", f"sqlite:///{store.home}/catalog.db", f"file://{place}")
    assert intact(version, there.fetch(there.get("x")))


def test_without_a_url_contents_are_in_the_home_alone(store: Store, peft_folder, serving) -> None:
    version = store.add("x", peft_folder(), serving, origin="trained")
    (version.path / WEIGHTS).unlink()
    assert store.fetch(version) == version.path  # who reads it says what is missing


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_crash_between_uploads_leaves_nothing_that_a_reader_sees(
    here, there, place, peft_folder, serving, monkeypatch, step: int
) -> None:
    write, written = LocalFileSystem.pipe_file, []

    def stops(self, path: str, *given, **options) -> None:
        if len(written) == step:
            Path(path).parent.mkdir(exist_ok=True, parents=True)
            Path(path).with_suffix(".part").write_bytes(b"half")
            raise Crash
        write(self, path, *given, **options)
        written.append(Path(path).name)

    monkeypatch.setattr(LocalFileSystem, "pipe_file", stops)
    with pytest.raises(Crash):
        here.add("x", peft_folder(), serving, origin="trained")
    monkeypatch.undo()
    assert written == [here.catalog.state().catalog, *FILES][:step]
    assert here.versions() == []
    (sha256,) = at(place)
    assert not there.contents.blobs.holds(sha256, {})
    with pytest.raises(BadAdapter, match="no complete content"):
        there.contents.blobs.get(sha256, place)
    version = here.add("x", peft_folder(), serving, origin="trained")
    assert intact(version, there.fetch(version))


def test_a_content_is_gone_before_its_files_are(here, place, peft_folder, serving, monkeypatch) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    removed: list[str] = []

    def stops(self, path: str, **options) -> None:
        if removed:
            raise Crash
        removed.append(Path(path).name)
        Path(path).unlink()

    monkeypatch.setattr(LocalFileSystem, "rm_file", stops)
    with pytest.raises(Crash):
        here.remove("x@1")
    assert removed == ["manifest.json"]
    assert not here.contents.blobs.holds(version.sha256, {})
    assert here.versions() == []


def alter(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))


def cut_off(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-5])


def lose(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def lose_marker(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize("harm", [alter, cut_off, lose, lose_marker])
def test_what_is_not_whole_at_the_url_is_refused_and_not_kept_until_it_is_imported_again(
    here, there, place, peft_folder, serving, harm
) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    harm(place / version.sha256)
    with pytest.raises(BadAdapter, match="mport the adapter again"):
        there.fetch(there.get("x"))
    assert cached(there) == set()
    assert here.add("x", peft_folder(), serving, origin="trained") == version
    assert intact(version, there.fetch(there.get("x")))


def test_what_lies_there_whole_is_not_uploaded_again(here, there, place, peft_folder, serving) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    age(place / version.sha256)
    there.add("y", peft_folder(), serving, origin="trained")
    assert (place / version.sha256 / WEIGHTS).stat().st_mtime < time.time() - 3600


def test_files_go_with_the_last_version_that_has_them(here, there, place, peft_folder, serving) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    there.add("y", peft_folder(), serving, origin="trained")
    here.remove("x@1")
    assert intact(version, place / version.sha256)
    there.remove("y@1")
    assert at(place) == set()
    here.add("x", peft_folder(), serving, origin="trained")
    assert at(place) == {version.sha256}


def test_files_that_are_gone_already_do_not_stop_a_removal(here, place, peft_folder, serving) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    lose(place / version.sha256)
    lose_marker(place / version.sha256)
    here.remove("x@1")
    assert (here.versions(), at(place)) == ([], set())


@pytest.mark.parametrize("what", ["an add", "a removal"])
def test_what_a_crash_left_at_the_url_goes_later_with_an_add_or_a_removal(
    here, place, peft_folder, serving, monkeypatch, what: str
) -> None:
    kept = here.add("y", peft_folder(2), serving, origin="trained")
    (place / ("1" * 64)).mkdir()
    (place / ("1" * 64) / WEIGHTS).write_bytes(b"of somebody else")
    if what == "an add":
        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(here, "_record", crash)
            here.add("x", peft_folder(1), serving, origin="trained")
    else:
        here.add("x", peft_folder(1), serving, origin="trained")
        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(here, "_settle", crash)
            here.remove("x@1")
    left = at(place) - {kept.sha256, "1" * 64}
    assert (len(left), [str(version.ref) for version in here.versions()]) == (1, ["y@1"])
    here.remove(here.add("z", peft_folder(3), serving, origin="trained").ref)
    assert at(place) >= left  # the process that was stopped might run on
    for note in here.contents.folder.glob(".unsettled-*"):
        os.utime(note, (time.time() - 7200,) * 2)
    here.add("z", peft_folder(3), serving, origin="trained")
    assert at(place) == {kept.sha256, "1" * 64, here.get("z").sha256}
    assert list(here.contents.folder.glob(".unsettled-*")) == []


def test_what_a_crash_left_stays_if_a_version_has_it_by_then(
    here, there, place, peft_folder, serving, monkeypatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(here, "_record", crash)
        here.add("x", peft_folder(1), serving, origin="trained")
    for note in here.contents.folder.glob(".unsettled-*"):
        os.utime(note, (time.time() - 7200,) * 2)
    version = there.add("x", peft_folder(1), serving, origin="trained")
    here.add("y", peft_folder(2), serving, origin="trained")
    assert intact(version, place / version.sha256)


def removed_after(store: Store, monkeypatch, times: int) -> None:
    """Let another machine remove a content `times` times, each right after it was uploaded."""
    publish, left = store.contents.publish, [None] * times

    def meets(files: Path, sha256: str, manifest: Manifest) -> None:
        publish(files, sha256, manifest)
        if left:
            left.pop()
            store.contents.blobs.remove(sha256)

    monkeypatch.setattr(store.contents, "publish", meets)


def test_an_add_that_a_removal_meets_uploads_again(here, there, peft_folder, serving, monkeypatch) -> None:
    removed_after(here, monkeypatch, times=2)
    version = here.add("x", peft_folder(), serving, origin="trained")
    assert intact(version, there.fetch(there.get("x")))


def test_an_add_that_compares_while_another_machine_removes_uploads(
    here, there, place, peft_folder, serving, monkeypatch
) -> None:
    there.add("x", peft_folder(), serving, origin="trained")
    read, met = Blobs._read, []

    def meets(self, sha256: str, name: str) -> bytes:
        if not met:
            met.append(name)
            there.remove("x@1")
        return read(self, sha256, name)

    monkeypatch.setattr(Blobs, "_read", meets)
    version = here.add("y", peft_folder(), serving, origin="trained")
    assert intact(version, place / version.sha256)


def test_a_content_whose_owner_a_removal_took_is_noted_again(
    here, place, peft_folder, serving, monkeypatch
) -> None:
    """The removal had found no other owner, and took the note that this add wrote after that."""
    put, met = Blobs.put, []

    def meets(self, sha256: str, files) -> None:
        if not met:
            met.append(sha256)
            self.remove(sha256)
        put(self, sha256, files)

    monkeypatch.setattr(Blobs, "put", meets)
    version = here.add("x", peft_folder(), serving, origin="trained")
    assert here.contents.blobs.owners(version.sha256) == {here.contents.owner}
    assert intact(version, place / version.sha256)


def test_an_add_that_removals_keep_meeting_stores_nothing(here, peft_folder, serving, monkeypatch) -> None:
    removed_after(here, monkeypatch, times=99)
    with pytest.raises(Conflict, match="Try again"):
        here.add("x", peft_folder(), serving, origin="trained")
    assert here.versions() == []


def test_two_machines_that_add_and_remove_the_same_never_lose_what_a_version_needs(
    machine, place, peft_folder, serving: Serving
) -> None:
    folder, lost = peft_folder(), []

    def work(name: str) -> None:
        store = machine(name)
        for _ in range(12):
            try:
                version = store.add(name, folder, serving, origin="trained")
            except Conflict:
                continue
            if not intact(version, place / version.sha256):
                lost.append(name)
            store.remove(version.ref)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert machine("three").versions() == []


def test_a_place_that_is_not_there_stores_nothing(here, place, peft_folder, serving) -> None:
    place.rmdir()
    with pytest.raises(SourceUnavailable, match="Make that bucket or folder first"):
        here.add("x", peft_folder(), serving, origin="trained")
    assert (here.versions(), cached(here), place.exists()) == ([], set(), False)


def test_a_removal_that_cannot_reach_the_url_removes_the_version(
    here, place, peft_folder, serving, monkeypatch, caplog
) -> None:
    def refuses(self, path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    here.add("x", peft_folder(), serving, origin="trained")
    monkeypatch.setattr(LocalFileSystem, "rm_file", refuses)
    here.remove("x@1")
    assert here.versions() == []
    assert "Permission denied" in caplog.text
    assert here.add("y", peft_folder(2), serving, origin="trained").number == 1


def test_the_url_is_a_setting(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setenv("HUB_STORE__BLOBS", f"file://{place}")
    assert Store.of(load_settings()).contents.blobs.shown == f"file://{place}"


@pytest.mark.parametrize("url", ["/srv/hub", "bucket/hub", "://x"])
def test_what_is_no_url_is_refused_when_the_store_opens(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadConfig, match=r"store\.blobs"):
        Store(tmp_path, blobs=url)


def test_a_url_of_no_known_kind_is_refused_when_it_is_used() -> None:
    with pytest.raises(BadConfig, match="Protocol not known: gopher"):
        Blobs("gopher://host/hub").names()


def test_an_extra_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"grafthub\[s3\]"):
        Blobs("s3://bucket/hub")


def test_no_message_holds_a_secret_of_the_url() -> None:
    place = Blobs("ftp://somebody:secret@127.0.0.1:1/hub?sig=secret")
    with pytest.raises(SourceUnavailable, match=r"ftp://127\.0\.0\.1:1/hub") as caught:
        place.names()
    assert "secret" not in str(caught.value)
    assert "somebody" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "s3://bucket/hub"])
def test_opening_a_store_loads_no_file_system(tmp_path: Path, url: str) -> None:
    code = (
        "import sys; from pathlib import Path; from hub.store.store import Store; "
        f"Store(Path({str(tmp_path)!r}), blobs={url!r}); "
        "print(*{'fsspec', 's3fs', 'botocore', 'aiohttp'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)


def test_on_s3_one_machine_stores_and_another_fetches_and_removes(
    machine, s3_url: str, peft_folder, serving
) -> None:
    here, there = machine("here", s3_url), machine("there", s3_url)
    version = here.add("x", peft_folder(), serving, origin="trained")
    assert intact(version, there.fetch(there.get("x")))
    assert here.contents.blobs.names() == [version.sha256]
    there.remove("x@1")
    assert here.contents.blobs.names() == []
    here.contents.blobs.remove(version.sha256)  # again: nothing there is no error


def test_on_s3_a_bucket_that_does_not_exist_is_not_made(machine, s3_url: str, peft_folder, serving) -> None:
    here = machine("here", "s3://misspelt-bucket/hub")
    with pytest.raises(SourceUnavailable, match=r"s3://misspelt-bucket/hub .* Make that bucket"):
        here.add("x", peft_folder(), serving, origin="trained")
    assert here.versions() == []
    assert here.contents.blobs.names() == []


@pytest.fixture
def gone(moto_server: S3Server, s3_url: str) -> Iterator[S3Server]:
    """Start the server again whatever becomes of the test."""
    yield moto_server
    if not moto_server.is_running:
        moto_server.start()


def test_s3_gone_for_a_while_fails_what_needs_it_with_the_reason(
    machine, gone: S3Server, s3_url: str, peft_folder, serving
) -> None:
    here, there = machine("here", s3_url), machine("there", s3_url)
    version = here.add("x", peft_folder(1), serving, origin="trained")
    gone.stop()
    began = time.monotonic()
    for refused in (
        lambda: there.fetch(version),
        lambda: there.add("x", peft_folder(2), serving, origin="trained"),
    ):
        with pytest.raises(SourceUnavailable, match=f"Adapter files at {s3_url} cannot be reached"):
            refused()
    assert time.monotonic() - began < 10
    assert [str(found.ref) for found in there.versions()] == ["x@1"]
    assert here.fetch(version) == version.path  # it is here
    assert machine("another", s3_url).get("x").sha256 == version.sha256
    gone.start()
    assert intact(version, there.fetch(version))
    assert there.add("x", peft_folder(2), serving, origin="trained").number == 2


@pytest.mark.slow
def test_s3_that_takes_connections_and_says_nothing_is_given_up(
    machine, moto_server: S3Server, s3_url: str, peft_folder, serving, monkeypatch
) -> None:
    assert blobs._READ_S * blobs._ATTEMPTS < 12
    monkeypatch.setattr(blobs, "_READ_S", 0.5)
    here, there = machine("here", s3_url), machine("there", s3_url)
    version = here.add("x", peft_folder(), serving, origin="trained")
    with moto_server.held_still():
        began = time.monotonic()
        with pytest.raises(SourceUnavailable, match="imeout"):
            there.fetch(version)
        assert time.monotonic() - began < 6
    assert intact(version, there.fetch(version))


def other_catalog(tmp_path: Path, place: Path) -> Store:
    return Store(tmp_path / "other", f"sqlite:///{tmp_path}/other.db", f"file://{place}")


def test_a_content_that_another_catalog_has_stays_at_the_url(
    here, place, peft_folder, serving, tmp_path: Path
) -> None:
    """Two hubs share a bucket: what one removes, the other may serve."""
    other = other_catalog(tmp_path, place)
    version = here.add("x", peft_folder(), serving, origin="trained")
    theirs = other.add("theirs", peft_folder(), serving, origin="trained")
    here.remove("x@1")
    assert intact(theirs, place / version.sha256)
    shutil.rmtree(theirs.path)
    assert intact(theirs, other.fetch(theirs))
    other.remove("theirs@1")
    assert at(place) == set(), "the last owner removes it"


def test_a_content_that_nobody_noted_stays_at_the_url(here, place, peft_folder, serving) -> None:
    version = here.add("x", peft_folder(), serving, origin="trained")
    shutil.rmtree(place / version.sha256 / "owners")
    here.remove("x@1")
    assert intact(version, place / version.sha256)


def test_a_removal_that_meets_an_add_of_another_catalog_puts_the_marker_back(
    here, place, peft_folder, serving, tmp_path: Path, monkeypatch
) -> None:
    other = other_catalog(tmp_path, place)
    version = here.add("x", peft_folder(), serving, origin="trained")
    remove, met = LocalFileSystem.rm_file, []

    def meets(self, path: str, **options) -> None:
        if not met:
            met.append(path)
            other.contents.blobs.own(version.sha256, other.contents.owner)
        remove(self, path, **options)

    monkeypatch.setattr(LocalFileSystem, "rm_file", meets)
    here.remove("x@1")
    assert other.contents.blobs.holds(version.sha256, {})
    assert other.contents.blobs.owners(version.sha256) == {other.contents.owner}
