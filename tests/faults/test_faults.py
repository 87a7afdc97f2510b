"""Bad adapters, a full disk, a catalog that is locked or gone: what is live goes on, the reason is told."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hub.api import HeadKind
from hub.config import find_home, load_settings
from hub.errors import BadAdapter, HubError, NotFound, NotReady
from hub.store.change import Deploy, DeploymentChange
from hub.store.manifest import BaseRef, Serving
from hub.store.records import Version
from tests.support.homes import FakeHome, plain_adapter
from tests.support.serving import Harness
from tests.support.waiting import until

TEXT = "a film that ends well"
WEIGHTS = "adapter_model.safetensors"
Maker = Callable[[FakeHome, Path], Version]


class Steady:
    """A runtime on the torch engine with `mood@1` live, asked without a pause from a thread of its own."""

    def __init__(self, home: FakeHome) -> None:
        self.home = home
        self.harness = Harness(load_settings(flags={"serve": {"engine": "torch", "slots": 4, "poll_ms": 20}}))
        self.runtime = self.harness.runtime
        self.truth = self.harness.ask("mood", TEXT).scores
        self.answers = 0
        self.wrong: list[object] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                answer = self.harness.ask("mood", TEXT)
                right = answer.version == "mood@1" and answer.scores == pytest.approx(self.truth, abs=1e-6)
                self.wrong += [] if right else [answer]
            except Exception as error:
                self.wrong.append(error)
            self.answers += 1

    def goes_on(self) -> None:
        """Requests are still answered, all of them by the live version and rightly."""
        before = self.answers
        assert until(lambda: self.answers >= before + 5)
        assert self.wrong == []
        assert self.harness.live() == {"mood": "mood@1"}

    def refuses(self, ref: object, kind: type[HubError], match: str) -> None:
        """A deploy fails for that reason and moves nothing."""
        generation = self.home.store.generation()
        with pytest.raises(HubError, match=match) as refused:
            self.runtime.deploy("mood", Deploy(version=str(ref), by="test"))
        assert type(refused.value) is kind
        assert self.home.store.generation() == generation
        self.goes_on()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.harness.close()


@pytest.fixture
def home(_own_home: None, tiny_base_folder: Path) -> FakeHome:
    home = FakeHome(find_home(), tiny_base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="test"))
    return home


@pytest.fixture
def steady(home: FakeHome) -> Iterator[Steady]:
    steady = Steady(home)
    yield steady
    steady.close()


def smuggle(home: FakeHome, folder: Path, **base: str) -> Version:
    """Store a folder that the store would refuse: its own checks are left out."""
    told = BaseRef(name=home.base.name, source=home.base.source, fingerprint=home.base.fingerprint)
    serving = Serving(
        task="sentiment",
        head=HeadKind.SEQUENCE,
        base=told.model_copy(update=base),
        labels=("negative", "positive"),
        max_length=64,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.store.store.read_adapter", lambda folder: None)
        patch.setattr("hub.store.content.content.write_saved_names", lambda folder: None)
        return home.store.add("mood", folder, serving, origin="imported")


def edited(folder: Path, edit: Callable[[str, np.ndarray], np.ndarray]) -> Path:
    plain_adapter(folder, seed=2)
    tensors = {name: edit(name, value) for name, value in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    return folder


def corrupted(home: FakeHome, folder: Path) -> Version:
    version = home.add("mood", seed=2)
    data = bytearray((version.path / WEIGHTS).read_bytes())
    data[-3] ^= 0x40
    (version.path / WEIGHTS).write_bytes(data)
    return version


def truncated(home: FakeHome, folder: Path) -> Version:
    version = home.add("mood", seed=2)
    data = (version.path / WEIGHTS).read_bytes()
    (version.path / WEIGHTS).write_bytes(data[: len(data) // 2])
    return version


def gone(home: FakeHome, folder: Path) -> Version:
    version = home.add("mood", seed=2)
    shutil.rmtree(version.path)
    return version


def truncated_before_it_was_stored(home: FakeHome, folder: Path) -> Version:
    data = (plain_adapter(folder, seed=2) / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-8])
    return smuggle(home, folder)


def of_a_base_that_is_not_here(home: FakeHome, folder: Path) -> Version:
    return smuggle(home, plain_adapter(folder, seed=2), fingerprint="0" * 64)


def of_a_wider_base(home: FakeHome, folder: Path) -> Version:
    return smuggle(home, plain_adapter(folder, seed=2, hidden=48))


def of_a_deeper_base(home: FakeHome, folder: Path) -> Version:
    return smuggle(home, plain_adapter(folder, module="bert.encoder.layer.40.attention.self.query"))


def of_two_ranks(home: FakeHome, folder: Path) -> Version:
    return smuggle(
        home,
        edited(folder, lambda name, value: np.vstack([value, value[:1]]) if "lora_A" in name else value),
    )


def with_nan(home: FakeHome, folder: Path) -> Version:
    return smuggle(home, edited(folder, lambda name, value: value * np.float32("nan")))


def overflowing(home: FakeHome, folder: Path) -> Version:
    return smuggle(home, edited(folder, lambda name, value: value * np.float32(1e30)))


def equal_to_the_bare_base(home: FakeHome, folder: Path) -> Version:
    return smuggle(home, edited(folder, lambda name, value: value * ("lora_B" not in name)))


BAD: dict[Maker, tuple[type[HubError], str]] = {
    corrupted: (BadAdapter, "altered after it was stored"),
    truncated: (BadAdapter, "altered after it was stored"),
    gone: (BadAdapter, "gone from the store"),
    truncated_before_it_was_stored: (BadAdapter, "safetensors"),
    of_a_base_that_is_not_here: (NotFound, "No base on this machine has the fingerprint"),
    of_a_wider_base: (BadAdapter, "maps 32 to 32 values, but the adapter's update maps 48 to 48"),
    of_a_deeper_base: (BadAdapter, "layer.40"),
    of_two_ranks: (BadAdapter, "rank"),
    with_nan: (BadAdapter, "NaN"),
    overflowing: (BadAdapter, "NaN or infinity"),
    equal_to_the_bare_base: (BadAdapter, "changes nothing"),
}


def test_a_bad_version_is_refused_and_the_live_one_stays(steady, home, tmp_path) -> None:
    for number, (make, (kind, match)) in enumerate(BAD.items()):
        steady.refuses(make(home, tmp_path / str(number)).ref, kind, match)


def test_a_bad_version_that_another_process_deployed(steady, home, tmp_path) -> None:
    """The catalog wants it, the server says why it cannot; the live version answers on."""
    home.store.deploy(
        "mood", Deploy(version=equal_to_the_bare_base(home, tmp_path / "bad").ref, by="another process")
    )
    assert until(lambda: steady.runtime.status()["failures"])
    (failure,) = steady.runtime.status()["failures"]
    assert (failure["wanted"], failure["serving"]) == ("mood@2", "mood@1")
    assert "changes nothing" in failure["reason"]
    steady.goes_on()
    home.store.rollback("mood", DeploymentChange(by="another process"))
    assert until(lambda: not steady.runtime.status()["failures"])
    steady.goes_on()


def _no_space(*given: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(given[-1] if given else ""))


def test_a_version_is_loaded_on_a_full_disk(steady, home, monkeypatch) -> None:
    """So a worker that is replaced then serves, and so does an adapter that was evicted."""
    version = home.add("mood", seed=2)
    for name in ("shutil.copyfile", "tempfile.mkdtemp", "tempfile.mkstemp"):
        monkeypatch.setattr(name, _no_space)
    assert (
        steady.runtime.deploy("mood", Deploy(version=version.ref, by="test")).deployment.stable.ref
        == version.ref
    )


def test_no_room_to_store_a_version(steady, home, tmp_path) -> None:
    adapter = plain_adapter(tmp_path / "made", seed=3)
    before = sorted((home.path / "adapters").iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.copyfile", _no_space)
        with pytest.raises(OSError, match="No space left"):
            smuggle(home, adapter)
    assert sorted((home.path / "adapters").iterdir()) == before
    assert len(home.store.versions()) == 1
    steady.goes_on()


@contextmanager
def written_by_another(home: FakeHome) -> Iterator[None]:
    """Hold the catalog's write lock, as a process does that stopped in the middle of a write."""
    with closing(sqlite3.connect(home.path / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_locked_catalog(steady, home, monkeypatch) -> None:
    monkeypatch.setattr("hub.store.catalog.catalog._BUSY_MS", 300)
    version = home.add("mood", seed=2)
    with written_by_another(home):
        steady.refuses(version.ref, NotReady, "database is locked")
        assert steady.runtime.status()["catalog_error"] == "", "it can be read meanwhile"
    assert (
        steady.runtime.deploy("mood", Deploy(version=version.ref, by="test")).deployment.stable.ref
        == version.ref
    )


def test_a_deploy_waits_for_a_short_lock(steady, home) -> None:
    version = home.add("mood", seed=2)
    moved = threading.Thread(
        target=lambda: steady.runtime.deploy("mood", Deploy(version=version.ref, by="test")), daemon=True
    )
    with written_by_another(home):
        moved.start()
        time.sleep(0.3)
        steady.goes_on()
    moved.join(20)
    assert home.store.deployment("mood").stable.ref == version.ref


def test_a_catalog_that_is_gone_for_a_while(steady, home, tmp_path) -> None:
    version = home.add("mood", seed=2)
    catalog, aside = home.path / "catalog.db", tmp_path / "aside"
    catalog.rename(aside)
    with pytest.raises(NotReady, match="unable to open database file"):
        steady.runtime.deploy("mood", Deploy(version=version.ref, by="test"))
    steady.goes_on()
    assert not catalog.exists(), "nobody made an empty one in its place"
    aside.rename(catalog)
    assert until(lambda: steady.runtime.status()["catalog_error"] == "")
    steady.goes_on()
    assert (
        steady.runtime.deploy("mood", Deploy(version=version.ref, by="test")).deployment.stable.ref
        == version.ref
    )
