"""Loads versions into slots: fetch, hash, check, write, probe; and leases the slots."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.api import AdapterEvent
from hub.engine.protocol import BARE_SLOT, AdapterWeights
from hub.engine.slots.table import Lease, SlotState, SlotTable
from hub.errors import EngineFailed, HubError, NotReady, Overloaded, SourceUnavailable
from hub.serving.batching.base_workers import BaseWorker, BaseWorkers
from hub.serving.batching.cost import LoadCost
from hub.serving.batching.probe import NewSlot
from hub.serving.meter import Meter
from hub.serving.plugins.growth import loading
from hub.serving.residency.adapter_cache import AdapterCache
from hub.serving.residency.loads import MAX_WAITERS, Load, Loads
from hub.serving.residency.reading import read_weights
from hub.serving.residency.reserving import reserve
from hub.store.peft.rank import MAX_RANK
from hub.store.records import Version

__all__ = ["Residency"]

log = logging.getLogger(__name__)

RETRY_AFTER_S = 30.0  # requests do not retry a failed load before that
RETRY_SOURCE_S = 2.0  # the same if its files could not be fetched, which is often temporary
CLOSE_S = 10.0  # how long `close` waits for loads
CHECK_CLOSING_S = 0.25
_SHUTTING_DOWN = "The server is shutting down. Send the request again."


@dataclass(frozen=True, slots=True)
class _Failure:
    name: str
    error: HubError
    until: float  # monotonic


class Residency:
    """Loads versions into slots, with one load per version, and leases the slots.

    A version is pinned during its load and until all its waiters have continued. `fetch` downloads a
    version's files if this machine lacks them. A hit in `adapter_cache` skips disk, hashing and checks. A
    caller waits at most `timeout_s` seconds for a load, which continues afterwards. `rehearse` runs the
    examples of the version's task in the written slot, and raises if that fails. `note` is told of loads and
    evictions. `closing` is set once the process ends; nobody is `held` by a base that is not open then.
    """

    def __init__(
        self,
        base_workers: BaseWorkers,
        meter: Meter,
        fetch: Callable[[Version], Path],
        *,
        timeout_s: float = 30.0,
        adapter_cache: AdapterCache | None = None,
        max_rank: int = MAX_RANK,
        rehearse: Callable[[NewSlot, Version], None] = lambda new_slot, version: None,
        closing: threading.Event | None = None,
    ) -> None:
        self._base_workers = base_workers
        self._meter = meter
        self._fetch = fetch
        self._rehearse = rehearse
        self.note: Callable[[AdapterEvent], None] = lambda event: None
        self._timeout_s = timeout_s
        self._adapter_cache = adapter_cache or AdapterCache(0)
        self._max_rank = max_rank
        self._lock = threading.Lock()  # taken before those of loads and slot tables
        self._failures: dict[str, _Failure] = {}
        self._cost = LoadCost()
        self._pinned: dict[Load, SlotTable] = {}
        self._loads = Loads(self._load, self._unpin)
        self._closing = closing or threading.Event()
        self._closed = False

    def lease(self, version: Version) -> tuple[BaseWorker, Lease] | None:
        """Claim the slot of a resident version; None if it is not resident. Never blocks."""
        base_worker = self._base_workers.get(version.manifest.serving.base.fingerprint)
        if base_worker and version.bare:  # its slot is never assigned, so that nothing is counted
            return base_worker, Lease(version.sha256, BARE_SLOT, lambda lease: None)
        lease = base_worker.slots.lease(version.sha256) if base_worker else None
        return (base_worker, lease) if base_worker and lease else None

    def is_resident(self, version: Version) -> bool:
        """Return whether a version could be leased now."""
        base_worker = self._base_workers.get(version.manifest.serving.base.fingerprint)
        return base_worker is not None and base_worker.slots.state(version.sha256) is SlotState.RESIDENT

    def waiting(self) -> dict[str, int]:
        """Return how many callers wait for each version that is being loaded, by content hash."""
        return {load.version.sha256: load.waiters for load in self._loads.all()}

    def ensure(self, version: Version, *, again: bool = False) -> Future[None]:
        """Make a version resident; the future holds the HubError on failure.

        A recent failure is returned without a retry, unless `again`.
        """
        try:
            return self._begin(version, again).future
        except HubError as error:
            refused: Future[None] = Future()
            refused.set_exception(error)
            return refused

    async def wait(self, version: Version) -> None:
        """Wait until a version is resident; its slot is then safe until the caller awaits again.

        Raises:
            NotReady: it is still being loaded after `timeout_s`; the load continues.
            Overloaded: too many requests wait for it, or no slot becomes free.
            HubError: it cannot be loaded.
        """
        load = self._join(version, again=False, max_waiters=MAX_WAITERS)
        try:
            self._refuse_late(load)
            ended = asyncio.wrap_future(load.future)
            ended.add_done_callback(asyncio.Future.exception)  # retrieved, also if nobody waits any more
            async with asyncio.timeout(self._timeout_s):
                await asyncio.shield(ended)
        except TimeoutError:
            raise self._late(load) from None
        finally:
            asyncio.get_running_loop().call_soon(self._loads.leave, load)

    @contextmanager
    def held(self, version: Version) -> Iterator[None]:
        """Make a version resident, retrying after a failure, and protect it from eviction.

        Blocks. The time to open a base is not limited.

        Raises:
            NotReady: it is still being loaded after `timeout_s`; the load continues. Or the server is
                shutting down, and the base is not open.
            HubError: it cannot be loaded.
        """
        load = self._join(version, again=True)
        try:
            self._wait_for_base(load)
            self._refuse_late(load)
            try:
                load.future.result(self._timeout_s)
            except TimeoutError:
                raise self._late(load) from None
            yield
        finally:
            self._loads.leave(load)

    def drain(self, version: Version, reason: str = "no deployment needs it") -> None:
        """Give no new leases on a version, and free its slot when the last lease ends.

        While it is being loaded, that is once nobody waits for it any more, unless it is asked for again.
        """
        if self._loads.unwant(version.sha256, reason):
            return
        if base_worker := self._base_workers.get(version.manifest.serving.base.fingerprint):
            base_worker.slots.drain(version.sha256, reason)
            self._report(base_worker)

    def describe(self) -> list[dict[str, Any]]:
        """Describe the loads in progress, and the failures that are not retried yet."""
        now = time.monotonic()
        loads = [
            {
                "version": str(load.version.ref),
                "sha256": load.version.sha256,
                "state": "loading" if load.began else "queued",
                "seconds": round(now - load.began, 3) if load.began else 0.0,
                "waiting": load.waiters,
            }
            for load in self._loads.all()
        ]
        with self._lock:
            failures = [
                {
                    "version": failure.name,
                    "sha256": sha256,
                    "state": "failed",
                    "retry_in_s": round(failure.until - now, 3),
                    "reason": str(failure.error),
                }
                for sha256, failure in self._failures.items()
                if failure.until > now
            ]
        return loads + failures

    def close(self) -> None:
        """Accept no more loads, and wait for running ones; those that hang are abandoned."""
        self._closed = True
        self._loads.close(CLOSE_S)

    def _begin(self, version: Version, again: bool) -> Load:
        """Return the load of a version in progress, or start one; raise its recent failure."""
        with self._lock:
            if running := self._loads.get(version.sha256):
                self._loads.want(running, urgent=again)
                return running
            failure = self._failures.get(version.sha256)
            if failure and not again and failure.until > time.monotonic():
                raise type(failure.error)(str(failure.error))
            load = Load(version, urgent=again)
            if base_worker := self._base_workers.get(version.manifest.serving.base.fingerprint):
                self._pin(load, base_worker)
            self._loads.submit(load)
            return load

    def _join(self, version: Version, *, again: bool, max_waiters: int | None = None) -> Load:
        while True:
            load = self._begin(version, again)
            if self._loads.join(load, max_waiters):
                return load
            if load.future.done():
                load.future.result()  # raises why it could not be started, as it could not be the next time

    def _wait_for_base(self, load: Load) -> None:
        while not load.opened.is_set():
            if self._closing.is_set():
                raise NotReady(_SHUTTING_DOWN)
            load.opened.wait(CHECK_CLOSING_S)

    def _refuse_late(self, load: Load) -> None:
        """Raise NotReady if the load has already taken longer than a caller waits."""
        if not load.ended and load.took() > self._timeout_s:
            raise self._late(load)

    def _late(self, load: Load) -> NotReady:
        return NotReady(
            f"{load.version.ref} is not loaded after {self._timeout_s:g} s (serve.load_timeout_s). The load "
            "continues; try again, and see `hub status` if that does not help."
        )

    def _pin(self, load: Load, base_worker: BaseWorker) -> None:
        if load not in self._pinned:
            base_worker.slots.pin(load.version.sha256)
            self._pinned[load] = base_worker.slots

    def _unpin(self, load: Load) -> None:
        if slots := self._pinned.pop(load, None):
            if load.unwanted:
                slots.drain(load.version.sha256, load.unwanted)  # a pin that follows takes it back
            slots.unpin(load.version.sha256)

    def _load(self, load: Load) -> None:
        version, base_worker = load.version, None
        began, failure, fresh = time.perf_counter(), None, False
        try:
            base_worker = self._base_workers.open(version.manifest.serving.base.fingerprint)
            self._pin(load, base_worker)
            load.loading = time.monotonic()
            load.opened.set()
            fresh = self._write(base_worker, load)
        except HubError as error:
            failure = type(error)(str(error))  # its traceback would keep the adapter in memory
        except Exception as error:
            log.exception("%s cannot be loaded.", version.ref)
            failure = EngineFailed(f"{version.ref} cannot be loaded ({type(error).__name__}).")
        self._remember(version, base_worker, failure)
        took = time.perf_counter() - began
        if failure:
            self._meter.load("failed", took)
            log.warning("%s cannot be loaded: %s", version.ref, failure)
            self.note(AdapterEvent("failed", str(version.ref), reason=str(failure), seconds=took))
            raise failure
        if fresh:
            self._meter.load("ok", took)
            self.note(AdapterEvent("loaded", str(version.ref), seconds=took))

    def _remember(self, version: Version, base_worker: BaseWorker | None, failure: HubError | None) -> None:
        """Record the result of a load, before its waiters continue."""
        now, name = time.monotonic(), str(version.ref)
        if failure and base_worker:
            base_worker.slots.failed(version.sha256, name, str(failure))
        with self._lock:
            self._failures = {key: one for key, one in self._failures.items() if one.until > now}
            self._failures.pop(version.sha256, None)
            if failure and not isinstance(failure, Overloaded | NotReady):
                lasts = RETRY_SOURCE_S if isinstance(failure, SourceUnavailable) else RETRY_AFTER_S
                self._failures[version.sha256] = _Failure(name, failure, now + lasts)

    def _write(self, base_worker: BaseWorker, load: Load) -> bool:
        """Write a version to a slot; False if it is resident already."""
        version = load.version
        sha256, name = version.sha256, str(version.ref)
        if base_worker.slots.state(sha256) is SlotState.RESIDENT:
            return False
        began = time.perf_counter()
        cached = self._adapter_cache.get(sha256)
        # A deployment change always reads the files: a deployed version must also be intact on disk.
        weights = self._read(base_worker, version) if cached is None or load.urgent else cached
        seconds = time.perf_counter() - began
        if self._closed:
            raise NotReady(_SHUTTING_DOWN)
        reservation = reserve(base_worker.slots, sha256, name, urgent=load.urgent)
        if reservation is None:  # it was draining, and is resident again
            return False
        if reservation.evicted:
            self._meter.evicted(base_worker.base.name)
            self.note(AdapterEvent("evicted", reservation.evicted_name))
        try:
            began = time.perf_counter()
            base_worker.engine.write(reservation.slot, weights)
            seconds += time.perf_counter() - began
            if cached is None:
                new_slot = NewSlot(base_worker, reservation.slot, weights, name)
                self._rehearse(new_slot, version)
                new_slot.probe()
        except BaseException:
            base_worker.slots.abort(sha256)
            raise
        kind = (base_worker.base.name, weights.merged, weights.nbytes.bit_length())
        base_worker.slots.commit(sha256, self._cost.note(kind, seconds), used=not load.urgent)
        self._adapter_cache.put(weights)
        self._report(base_worker)
        return True

    @loading()
    def _read(self, base_worker: BaseWorker, version: Version) -> AdapterWeights:
        self._fetch(version)
        weights = read_weights(version, base_worker.base, self._max_rank)
        base_worker.engine.check(weights)
        return weights

    def _report(self, base_worker: BaseWorker) -> None:
        self._meter.slots(base_worker.base.name, base_worker.slots.in_use, base_worker.slots.capacity)
