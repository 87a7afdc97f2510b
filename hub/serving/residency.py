"""Which versions are in slots, and how one gets there: copied, hashed, checked, written, probed."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.protocol import BARE_SLOT, AdapterWeights, EngineRow
from hub.engine.slots import Lease, Reservation, SlotState, SlotTable, SlotView
from hub.engine.weights import weights_of
from hub.errors import BadAdapter, EngineFailed, HostFault, HubError, Overloaded
from hub.serving.lanes import Lane, Lanes
from hub.serving.meter import Meter
from hub.store.content import content_hash
from hub.store.records import Version
from hub.store.weights import CONFIG_FILE, WEIGHTS_FILE, AdapterFiles, read_adapter

__all__ = ["Residency", "read_weights"]

log = logging.getLogger(__name__)

SLOT_POLL_S = 0.002
DRAIN_AFTER_S = 0.05  # leases are short: mostly a slot is idle before that
SLOT_WAIT_S = 10.0
RETRY_AFTER_S = 30.0  # how long a version that failed to load is not tried again by mere requests


@dataclass(frozen=True, slots=True)
class _Failure:
    error: HubError
    until: float  # monotonic


class Residency:
    """Loads versions into slots, each once however many ask for it, and leases the slots out."""

    def __init__(self, lanes: Lanes, meter: Meter, scratch: Path, fetch: Callable[[Version], Path]) -> None:
        self._lanes = lanes
        self._meter = meter
        self._scratch = scratch
        self._fetch = fetch  # makes the files of a version be on this machine
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="load")
        self._lock = threading.Lock()
        self._loading: dict[str, Future[None]] = {}
        self._failures: dict[str, _Failure] = {}

    def lease(self, version: Version) -> tuple[Lane, Lease] | None:
        """Claim the slot of a resident version; None if it is not resident. Never blocks."""
        lane = self._lanes.get(version.manifest.serving.base.fingerprint)
        lease = lane.slots.lease(version.sha256) if lane else None
        return (lane, lease) if lane and lease else None

    def ensure(self, version: Version, *, again: bool = False) -> Future[None]:
        """Make a version resident; the future holds the HubError if it cannot be.

        A recent failure is repeated without another try, unless `again`.
        """
        with self._lock:
            if running := self._loading.get(version.sha256):
                return running
            failure = self._failures.get(version.sha256)
            if failure and not again and failure.until > time.monotonic():
                refused: Future[None] = Future()
                refused.set_exception(type(failure.error)(str(failure.error)))
                return refused
            future = self._threads.submit(self._load, version)
            self._loading[version.sha256] = future
            return future

    def drain(self, version: Version) -> None:
        """Lease a version to nobody new, and free its slot when the last lease ends."""
        if lane := self._lanes.get(version.manifest.serving.base.fingerprint):
            lane.slots.drain(version.sha256)
            self._report(lane)

    def close(self) -> None:
        """Let running loads end and take no more."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _load(self, version: Version) -> None:
        began, failure = time.perf_counter(), None
        try:
            lane = self._lanes.open(version.manifest.serving.base.fingerprint)
            fresh = self._write(lane, version)
        except HubError as error:
            failure = error
        except Exception as error:
            log.exception("%s cannot be loaded.", version.ref)
            failure = EngineFailed(f"{version.ref} cannot be loaded ({type(error).__name__}).")
        self._forget(version, failure)
        took = time.perf_counter() - began
        if failure:
            self._meter.load("failed", took)
            log.warning("%s cannot be loaded: %s", version.ref, failure)
            raise failure
        if fresh:
            self._meter.load("ok", took)
            log.debug("Loaded %s in %.0f ms.", version.ref, took * 1000)

    def _forget(self, version: Version, failure: HubError | None) -> None:
        """End the load of a version, before those that wait for it hear of it; remember why it failed."""
        with self._lock:
            self._loading.pop(version.sha256, None)
            if failure is None or isinstance(failure, Overloaded):
                self._failures.pop(version.sha256, None)
            else:
                self._failures[version.sha256] = _Failure(failure, time.monotonic() + RETRY_AFTER_S)

    def _write(self, lane: Lane, version: Version) -> bool:
        """Put a version into a slot; False if it is there already."""
        if lane.slots.state(version.sha256) is SlotState.RESIDENT:
            return False
        self._fetch(version)
        weights = read_weights(version, self._scratch, lane.base)
        lane.engine.check(weights)
        reservation = _reserve(lane.slots, version.sha256)
        if reservation is None:  # it was draining, and is resident again
            return False
        try:
            lane.engine.write(reservation.slot, weights)
            _probe(lane, reservation.slot, weights, version)
        except BaseException:
            lane.engine.clear(reservation.slot)
            lane.slots.abort(version.sha256)
            raise
        lane.slots.commit(version.sha256)
        self._report(lane)
        return True

    def _report(self, lane: Lane) -> None:
        self._meter.slots(lane.base.name, len(lane.slots.view()), lane.slots.capacity)


def _reserve(slots: SlotTable, sha256: str) -> Reservation | None:
    """Reserve a slot; while none is idle, wait, and soon take the longest unused one out of use.

    Raises:
        Overloaded: no slot came free in time.
    """
    began = time.monotonic()
    drain_at = began + DRAIN_AFTER_S
    while True:
        try:
            return slots.reserve(sha256)
        except Overloaded:
            now = time.monotonic()
            if now - began > SLOT_WAIT_S:
                raise
        if now > drain_at and (busy := _busy(slots)):
            slots.drain(busy[0].key)
            drain_at = now + DRAIN_AFTER_S
        time.sleep(SLOT_POLL_S)


def _busy(slots: SlotTable) -> list[SlotView]:
    """Return the leased versions that may be drained, least recently used first."""
    return [view for view in slots.view() if view.state is SlotState.RESIDENT and not view.pinned]


def read_weights(version: Version, scratch: Path, base: Base) -> AdapterWeights:
    """Copy a version's files aside, check the copy against the version's hash, and parse or merge it.

    Raises:
        BadAdapter: the files are gone, were altered, or are not a sound adapter.
        HostFault: they cannot be copied: the disk is full, or not to be read or written.
        EngineFailed: the base that it is to be merged into could not be loaded.
    """
    serving = version.manifest.serving
    files = _copied(version, scratch)
    weights = weights_of(
        base,
        files.config,
        files.tensors,
        kind=serving.head,
        num_labels=len(serving.labels),
        sha256=version.sha256,
        merged=serving.merged,
    )
    int8 = version.manifest.precision.get("int8")
    return replace(weights, int8=int8 is not None and int8.passed)


def _copied(version: Version, scratch: Path) -> AdapterFiles:
    """Read the files from a private copy whose hash is right."""
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="load-") as private:
            folder = Path(private)
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                shutil.copyfile(version.path / name, folder / name)
            if content_hash(folder, version.manifest.serving) != version.sha256:
                raise BadAdapter(
                    f"{version.ref} was altered after it was stored: its files do not have the hash in the "
                    "catalog. Import or train it again."
                )
            return read_adapter(folder)
    except FileNotFoundError as error:
        raise BadAdapter(
            f"{version.ref}: {Path(error.filename).name} is gone from the store. Import or train it again."
        ) from None
    except OSError as error:
        raise HostFault(
            f"{version.ref} cannot be copied to {scratch.name}/ in the home: {error.strerror or error}. Check free "
            "space and permissions there, and try again."
        ) from None


def _probe(lane: Lane, slot: int, weights: AdapterWeights, version: Version) -> None:
    """Run one row at the slot; the adapter has to change what the bare base says, to finite numbers."""
    kinds = [HeadKind.GENERATE] if weights.kind is HeadKind.GENERATE else [weights.kind, HeadKind.EMBEDDING]
    rows = [EngineRow(lane.probe, slot, kind) for kind in kinds]
    outputs = lane.batcher.run([*rows, EngineRow(lane.probe, BARE_SLOT, kinds[-1])])
    if any(output.values is not None and not np.isfinite(output.values).all() for output in outputs):
        raise BadAdapter(f"{version.ref} answers a probe with NaN or infinity. Train it again.")
    adapted, bare = outputs[-2].values, outputs[-1].values
    same = adapted is not None and bare is not None and np.array_equal(adapted, bare)
    if same or not (weights.merged or any(update.changes for update in weights.layers.values())):
        raise BadAdapter(f"{version.ref} changes nothing: it answers as the bare base does. Train it first.")
