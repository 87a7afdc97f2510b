from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest
from filelock import FileLock

from hub.errors import BadAdapter, BaseMismatch, Conflict, HubError, InvalidName, NotFound, NotReady
from hub.store.card.folder import read_manifest
from hub.store.change import Deploy
from hub.store.content.content import content_hash, copy_verified
from hub.store.content.weights import read_adapter
from hub.store.importing import import_peft, import_version
from hub.store.manifest import Calibration, DataRef, Manifest, PrecisionRecord, Serving, UnderperformingSlice
from hub.store.store import Store


def kept(store: Store) -> set[str]:
    return {path.name for path in store.contents.folder.glob("*")} - {
        ".lock",
        ".catalog.json",
        ".catalog.json.lock",
    }


def test_a_version_carries_what_it_was_stored_with(store: Store, peft_folder, serving: Serving) -> None:
    data = DataRef(source="rows.csv", sha256="d" * 64, train_rows=90, eval_rows=10, licence="CC0-1.0")
    version = store.add(
        "x",
        peft_folder(),
        serving,
        origin="trained",
        metrics={"accuracy": 0.9},
        metric="accuracy",
        data=data,
        recipe={"task": "classification"},
        libraries={"torch": "2.13"},
        train_seconds=1.5,
    )
    assert (version.name, version.number, str(version.ref)) == ("x", 1, "x@1")
    assert version == store.get("x@1") == Store(store.home).get("x")
    assert version.manifest.serving == serving
    assert (version.manifest.data, version.manifest.train_seconds) == (data, 1.5)
    assert version.info.labels == ("a", "b", "c")
    assert Manifest.model_validate_json((version.path / "manifest.json").read_bytes()) == version.manifest
    assert version.created.tzinfo is not None


def test_a_manifest_from_before_there_were_merged_copies_keeps_its_hash(serving: Serving) -> None:
    before = serving.model_dump(mode="json")
    assert sorted(before) == ["base", "head", "labels", "max_length", "settings", "task"]
    assert Serving.model_validate(before) == serving
    assert serving.merged is False


def test_what_was_measured_is_kept_and_is_no_part_of_the_content(
    store: Store, peft_folder, serving: Serving, tmp_path: Path
) -> None:
    folder = peft_folder()
    plain = store.add("x", folder, serving, origin="trained")
    assert not {"intervals", "calibration", "underperforming_slices"} & set(
        json.loads(plain.manifest.model_dump_json())
    )
    calibration = Calibration(temperature=1.5, rows=60, ece_before=0.1, ece_after=0.02)
    one = UnderperformingSlice(column="label", value="a", rows=30, metric=0.5, others=0.9)
    measured = store.add(
        "y", folder, serving, origin="trained",
        intervals={"accuracy": (0.8, 0.9)}, calibration=calibration, underperforming_slices=(one,),
    )  # fmt: skip
    assert measured.sha256 == plain.sha256
    store.export("y", tmp_path / "out")
    for manifest in (store.get("y").manifest, read_manifest(tmp_path / "out")):
        assert manifest.intervals == {"accuracy": (0.8, 0.9)}
        assert (manifest.calibration, manifest.underperforming_slices) == (calibration, (one,))


def test_how_it_answers_in_int8_is_kept_and_is_no_part_of_the_content(
    store: Store, peft_folder, serving: Serving, tmp_path: Path
) -> None:
    folder = peft_folder()
    plain = store.add("x", folder, serving, origin="trained")
    assert "precision" not in json.loads(plain.manifest.model_dump_json())
    int8 = PrecisionRecord(passed=True, rows=300, agreement=0.99, metric=0.9, metric_float32=0.91)
    measured = store.add("y", folder, serving, origin="trained", precision={"int8": int8})
    assert measured.sha256 == plain.sha256
    assert store.get("y").manifest.precision == {"int8": int8}
    store.export("y", tmp_path / "out")
    assert read_manifest(tmp_path / "out").precision == {"int8": int8}


def test_how_a_version_is_served_is_part_of_its_content(store: Store, peft_folder, serving: Serving) -> None:
    folder, merged = peft_folder(), serving.model_copy(update={"merged": True})
    first, second = (store.add("x", folder, each, origin="imported") for each in (serving, merged))
    assert first.sha256 != second.sha256
    assert [version.manifest.serving.merged for version in Store(store.home).versions("x")] == [False, True]
    assert json.loads((second.path / "manifest.json").read_bytes())["serving"]["merged"] is True


def test_only_the_two_adapter_files_are_taken(store: Store, peft_folder, serving: Serving) -> None:
    folder = peft_folder()
    (folder / "notes.txt").write_text("private")
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    version = store.add("x", folder, serving, origin="imported")
    assert {path.name for path in version.path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "x@1",
    }


def test_the_config_names_the_base_and_not_a_path_of_the_trainers(store: Store, peft_folder, serving) -> None:
    config = read_adapter(store.add("x", peft_folder(), serving, origin="trained").path).config
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert config["r"] == 2


def test_numbers_count_up_and_none_is_used_twice(store: Store, peft_folder, serving: Serving) -> None:
    assert [store.add("x", peft_folder(seed), serving, origin="trained").number for seed in (1, 2, 3)] == [
        1,
        2,
        3,
    ]
    store.remove("x@3")
    assert store.add("x", peft_folder(4), serving, origin="trained").number == 4
    assert [str(version.ref) for version in store.versions("x")] == ["x@1", "x@2", "x@4"]


def test_the_same_content_under_one_name_is_one_version(store: Store, peft_folder, serving: Serving) -> None:
    first = store.add("x", peft_folder(1), serving, origin="trained")
    assert store.add("x", peft_folder(1), serving, origin="trained") == first
    assert len(store.versions()) == 1


def test_the_same_content_under_two_names_is_stored_once(store: Store, peft_folder, serving: Serving) -> None:
    one = store.add("x", peft_folder(1), serving, origin="trained", metrics={"accuracy": 0.5})
    two = store.add("y", peft_folder(1), serving, origin="trained", metrics={"accuracy": 0.6})
    assert one.path == two.path
    assert store.get("y").manifest.metrics == {"accuracy": 0.6}
    store.remove("x@1")
    assert two.path.is_dir()
    store.remove("y@1")
    assert kept(store) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("a", "c", "b")},
        {"task": "sentiment"},
        {"settings": {"threshold": 0.3}},
        {"max_length": 64},
    ],
)
def test_what_changes_an_answer_changes_the_content(store: Store, peft_folder, serving, change) -> None:
    one = store.add("x", peft_folder(), serving, origin="trained")
    two = store.add("x", peft_folder(), serving.model_copy(update=change), origin="trained")
    assert (two.number, two.sha256 == one.sha256) == (2, False)


def test_what_does_not_exist_is_answered_with_what_does(stocked: Store) -> None:
    with pytest.raises(NotFound, match="x@1, x@2, x@3"):
        stocked.get("x@9")
    with pytest.raises(NotFound, match="Available: x, y"):
        stocked.get("z")
    assert stocked.versions("z") == []


@pytest.mark.parametrize("name", ["../x", "a/b", "X", "", ".x", "x@1", "x" * 64, "a..b"])
def test_a_name_that_is_not_legal_stores_nothing(store: Store, peft_folder, serving, name: str) -> None:
    with pytest.raises(InvalidName):
        store.add(name, peft_folder(), serving, origin="trained")
    assert kept(store) == set()


@pytest.mark.parametrize("linked", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_symbolic_link_is_not_followed(store: Store, peft_folder, serving, tmp_path, linked: str) -> None:
    folder = peft_folder()
    (folder / linked).rename(tmp_path / linked)
    (folder / linked).symlink_to(tmp_path / linked)
    with pytest.raises(BadAdapter, match="symbolic link"):
        store.add("x", folder, serving, origin="imported")
    assert kept(store) == set()


def test_a_file_or_nothing_at_all_is_no_folder(store: Store, serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "none"):
        with pytest.raises(BadAdapter, match="is not a folder"):
            store.add("x", path, serving, origin="imported")


def test_a_check_that_fails_stores_nothing(store: Store, peft_folder, serving: Serving) -> None:
    def refuse(files, about) -> None:
        assert about == serving and "base_model.model.classifier.bias" in files.tensors
        raise BadAdapter("not served here")

    with pytest.raises(BadAdapter, match="not served here"):
        store.add("x", peft_folder(), serving, origin="imported", check=refuse)
    assert (store.versions(), kept(store)) == ([], set())


def test_a_content_that_was_altered_on_disk_is_replaced(store: Store, peft_folder, serving: Serving) -> None:
    version = store.add("x", peft_folder(1), serving, origin="trained")
    (version.path / "adapter_model.safetensors").write_bytes(b"altered")
    again = store.add("x", peft_folder(1), serving, origin="trained")
    assert again == version
    assert content_hash(version.path, serving) == version.sha256


def test_a_deployed_version_is_not_removed_nor_the_one_before(stocked: Store) -> None:
    stocked.deploy("live", Deploy(version="x@1", by="test"))
    stocked.deploy("live", Deploy(version="x@2", by="test"))
    with pytest.raises(Conflict, match="x@2 is live in 'live'"):
        stocked.remove("x@2")
    with pytest.raises(Conflict, match="would roll back to"):
        stocked.remove("x@1")
    assert stocked.remove("x@3").number == 3
    assert len(kept(stocked)) == 3


def test_what_a_crash_left_is_swept_when_it_is_old(stocked: Store, peft_folder) -> None:
    hours_ago, days_ago = (time.time() - hours * 3600 for hours in (2, 48))
    orphan = stocked.contents.folder / ("0" * 64)
    unknown = stocked.contents.folder / ("1" * 64)
    half = stocked.contents.folder / ".incoming-dead"
    slow = stocked.contents.folder / ".incoming-busy"  # of an upload that takes hours
    for folder in (orphan, unknown, half, slow):
        folder.mkdir()
    stocked.contents.note(orphan.name)
    note = stocked.contents.folder / f".unsettled-{orphan.name}"
    used = {version.sha256 for version in stocked.versions()}
    for path in (orphan, unknown, slow, note, *(stocked.contents.path(sha256) for sha256 in used)):
        os.utime(path, (hours_ago, hours_ago))
    os.utime(half, (days_ago, days_ago))
    Store(stocked.home)
    assert kept(stocked) == used | {unknown.name, ".incoming-busy"}, "what no note names is not its own"
    assert not note.exists()


def test_nothing_is_swept_while_another_process_stores(stocked: Store) -> None:
    orphan = stocked.contents.folder / ("0" * 64)
    orphan.mkdir()
    stocked.contents.note(orphan.name)
    os.utime(stocked.contents.folder / f".unsettled-{orphan.name}", (0, 0))
    with stocked.contents.lock:
        Store(stocked.home)
        assert orphan.is_dir()
    Store(stocked.home)
    assert not orphan.exists()


def test_contents_that_are_read_only_are_not_swept(stocked: Store, tmp_path, monkeypatch) -> None:
    """The catalog may be elsewhere."""
    shutil.copytree(stocked.home, tmp_path / "other")
    acquire = FileLock.acquire

    def refused(lock: FileLock, *args: object, **options: object) -> object:
        if Path(lock.lock_file).parent.name == "adapters":
            raise OSError(errno.EROFS, "Read-only file system", lock.lock_file)
        return acquire(lock, *args, **options)

    monkeypatch.setattr(FileLock, "acquire", refused)
    with Store(tmp_path / "other", catalog=f"sqlite:///{stocked.home / 'catalog.db'}") as store:
        assert len(store.versions()) == 4
        with pytest.raises(OSError, match="Read-only"):
            store.remove("x@1")


def test_a_note_that_another_process_removes_meanwhile_stops_no_command(stocked: Store, tmp_path) -> None:
    note = stocked.contents.folder / f".unsettled-{'0' * 64}"
    note.symlink_to(tmp_path / "gone")  # listed, and not there any more
    with Store(stocked.home) as store:
        assert store.contents.unsettled() == []
        assert len(store.versions()) == 4


def _add_many(home: Path, folders: list[Path], serving_json: str, results) -> None:
    store = Store(home)
    serving = Serving.model_validate_json(serving_json)
    results.put([store.add("shared", folder, serving, origin="trained").number for folder in folders])


def test_a_catalog_that_has_gone_is_not_made_anew(stocked: Store, tmp_path: Path) -> None:
    catalog = stocked.home / "catalog.db"
    catalog.rename(tmp_path / "aside")
    with pytest.raises(NotReady, match=r"catalog\.db is gone"):
        Store(stocked.home)
    with pytest.raises(NotReady, match="unable to open"):
        stocked.deployments()
    assert not catalog.exists()
    (tmp_path / "aside").rename(catalog)
    assert Store(stocked.home).versions() == stocked.versions()


def test_processes_that_add_at_once_get_numbers_of_their_own(
    store: Store, peft_folder, serving: Serving
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hub.store.store", __name__])
    results = context.Queue()
    folders = [[peft_folder(10 * worker + seed) for seed in range(6)] for worker in range(3)]
    workers = [
        context.Process(target=_add_many, args=(store.home, part, serving.model_dump_json(), results))
        for part in folders
    ]
    for worker in workers:
        worker.start()
    numbers = [number for _ in workers for number in results.get(timeout=60)]
    for worker in workers:
        worker.join()
    assert sorted(numbers) == list(range(1, 19))
    assert len(kept(store)) == 18


def test_a_plain_peft_folder_is_imported(store: Store, peft_folder, small_base) -> None:
    version = import_peft(
        store,
        peft_folder(),
        "x",
        task="classification",
        head=None,
        base=small_base(),
        labels=("billing", "bug", "howto"),
        settings={"multi_label": False},
        max_length=512,
    )
    serving = version.manifest.serving
    assert (serving.head.value, serving.labels) == ("sequence", ("billing", "bug", "howto"))
    assert serving.base.fingerprint == store.bases.get("small").fingerprint
    assert serving.max_length == 64, "no longer than the base allows"
    assert version.manifest.origin == "imported"


def test_labels_that_nobody_names_are_numbered(store: Store, peft_folder, small_base) -> None:
    folder = peft_folder(labels=2)
    version = import_peft(store, folder, "x", task="classification", head=None, base=small_base())
    assert version.manifest.serving.labels == ("label_0", "label_1")


@pytest.mark.parametrize(
    ("made", "given", "says"),
    [
        ({}, {"labels": ("a", "b")}, "3 outputs and 2 labels"),
        ({}, {"labels": ("a", "b", "a")}, "not all different"),
        ({"config": {"task_type": None}}, {}, "task_type is None"),
        ({"config": {"task_type": "QUESTION_ANS"}}, {"labels": ("a",)}, "span adapter has no labels"),
    ],
)
def test_an_import_that_does_not_add_up_says_so(
    store: Store, peft_folder, small_base, made, given, says
) -> None:
    with pytest.raises(BadAdapter, match=says):
        import_peft(
            store, peft_folder(**made), "x", task="classification", head=None, base=small_base(), **given
        )
    assert store.versions() == []


def test_an_adapter_for_another_base_is_refused(store: Store, peft_folder, small_base) -> None:
    with pytest.raises(BaseMismatch, match=r"is 16 wide where the base 'small' has 8.*/home/somebody"):
        import_peft(
            store, peft_folder(width=16), "x", task="classification", head=None, base=small_base(), labels=()
        )
    assert (store.versions(), kept(store)) == ([], set())


def test_an_exported_version_comes_back_as_the_same_content(
    store: Store, peft_folder, small_base, tmp_path: Path
) -> None:
    base = small_base()
    made = import_peft(store, peft_folder(), "x", task="classification", head=None, base=base)
    folder = store.export("x", tmp_path / "out" / "exported")
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["exported"]
    other = Store(tmp_path / "elsewhere")
    other.bases.pull(str(base.path), "called-otherwise")
    back = import_version(other, folder, "y")
    assert (back.sha256, back.manifest.serving) == (made.sha256, made.manifest.serving)
    assert (str(back.ref), back.manifest.metrics) == ("y@1", made.manifest.metrics)


def test_a_version_whose_base_is_not_here_says_what_to_pull(stocked: Store, tmp_path: Path) -> None:
    folder = stocked.export("x@2", tmp_path / "out")
    with pytest.raises(BaseMismatch, match="Run: hub base pull minilm"):
        import_version(stocked, folder, "z")


def test_a_manifest_that_names_another_base_than_the_weights_need_is_refused(
    store: Store, peft_folder, small_base, tmp_path: Path
) -> None:
    base = small_base()
    import_peft(store, peft_folder(), "x", task="classification", head=None, base=base)
    folder = store.export("x", tmp_path / "out")
    shutil.copy(peft_folder(width=16) / "adapter_model.safetensors", folder)
    with pytest.raises(BaseMismatch, match="16 wide"):
        import_version(store, folder, "y")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "has no manifest.json"),
        ("{", "manifest.json"),
        ("[]", "the file"),
        ('{"serving": {"task": "x"}}', r"serving\.head: Field required"),
    ],
)
def test_a_manifest_that_is_wrong_is_named_with_its_key(store: Store, peft_folder, text, says: str) -> None:
    folder = peft_folder()
    if text is not None:
        (folder / "manifest.json").write_text(text)
    with pytest.raises(BadAdapter, match=says):
        import_version(store, folder, "x")


def test_an_export_overwrites_nothing(stocked: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert stocked.export("x@1", tmp_path / "empty").is_dir()
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "empty", tmp_path / "file"):
        with pytest.raises(Conflict, match="not empty"):
            stocked.export("x@2", path)
    assert json.loads((tmp_path / "empty" / "manifest.json").read_text())["origin"] == "trained"


@pytest.mark.parametrize("altered", [True, False])
def test_an_export_has_the_bytes_of_the_version_or_is_refused(
    stocked: Store, tmp_path: Path, altered: bool
) -> None:
    weights = stocked.get("x@1").path / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    if altered:
        weights.write_bytes(data[:-1] + b"x")
    with pytest.raises(BadAdapter, match="x@1 was altered" if altered else "x@1: .* is gone from the store"):
        stocked.export("x@1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_error_has_a_code_of_its_own_family(store: Store, peft_folder, serving: Serving) -> None:
    with pytest.raises(HubError) as caught:
        store.get("nothing")
    assert caught.value.to_json()["error"]["code"] == "not_found"


def test_a_store_is_closed_at_the_end_of_its_block(tmp_path, monkeypatch) -> None:
    with Store(tmp_path / "h") as store:
        closed: list[bool] = []
        monkeypatch.setattr(store.catalog, "close", lambda: closed.append(True))
        assert not closed
    assert closed == [True]


def test_a_verified_copy_is_made_of_the_bytes_that_were_hashed(stocked, tmp_path) -> None:
    version = stocked.get("x@1")
    copy_verified(version, tmp_path)
    for path in tmp_path.glob("adapter_*"):
        assert path.read_bytes() == (version.path / path.name).read_bytes()
    weights = version.path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(BadAdapter, match="was altered after it was stored"):
        copy_verified(version, tmp_path)
    weights.unlink()
    with pytest.raises(BadAdapter, match=r"adapter_model\.safetensors is gone"):
        copy_verified(version, tmp_path)
