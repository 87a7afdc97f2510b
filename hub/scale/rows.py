"""Answers rows with versions that are pinned by their content: the engine and the pipeline of a bulk job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from hub.api import Model
from hub.config import Settings
from hub.errors import (
    BadData,
    Conflict,
    HubError,
    PluginFailed,
    PluginTimeout,
    TooLarge,
)
from hub.registry.active import activate
from hub.registry.host import LoadedTask, Registry
from hub.serving.batching.base_workers import BaseWorkers
from hub.serving.batching.fair_queue import SHORT_ROW_TOKENS
from hub.serving.meter import Meter
from hub.serving.plugins.rehearsal import rehearse_on
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.parsing import parse
from hub.serving.requests.pipeline import Pipeline
from hub.serving.residency.residency import Residency
from hub.serving.routing.router import Admission, Router
from hub.serving.routing.routes import Route, Routes, Target
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["PinnedVersion", "RowAnswer", "RowRequest", "Rows"]

ROWS_PER_CALL = 64
CALLS_AT_ONCE = 6  # encode, forward and decode of different calls overlap
SHORT_ROW_CHARS = 4 * SHORT_ROW_TOKENS
SETTLE_S = 120.0  # for an engine that exports graphs and times its backbones, once for a machine
MAX_ROWS = 1 << 20  # model rows; the calls at once are the limit of a job

RowRequest = Mapping[str, Any] | str
"""The fields of a request, or the reason that a row makes none."""

RowAnswer = dict[str, Any] | HubError
"""What a version answers, as JSON values, or the error of the row."""

_SPLIT = (PluginTimeout, PluginFailed, TooLarge)  # one row may fail a call of many


class PinnedVersion(Model):
    """The version that answers for a deployment during a whole job; `sha256` is its content hash."""

    deployment: str
    version: str
    sha256: str

    @classmethod
    def of(cls, store: Store, name: str) -> Self:
        """Pin the stable version of a deployment, or the version that is named as NAME@N.

        Raises:
            NotFound: there is none.
        """
        version = store.get(name) if "@" in name else store.deployment(name).stable
        return cls(deployment=name, version=str(version.ref), sha256=version.sha256)

    def find(self, store: Store) -> Version:
        """Return the version.

        Raises:
            NotFound: it was removed.
            Conflict: another content has its name now.
        """
        version = store.get(self.version)
        if version.sha256 != self.sha256:
            raise Conflict(
                f"The job began with {self.version} of sha256 {self.sha256[:12]}, and this hub has another "
                f"content of that name ({version.sha256[:12]}). Begin again in another folder."
            )
        return version


class Rows:
    """Answers rows with several versions, of which each row is asked once; one object in a process.

    A text that several versions tokenize in the same way is tokenized once, and their rows share forwards.

    Raises:
        NotFound, Conflict: as `PinnedVersion.find`.
        BadAdapter and others: a version cannot be loaded.
    """

    def __init__(self, settings: Settings, pinned: Sequence[PinnedVersion]) -> None:
        self._stack = ExitStack()
        try:
            self._open(_for_bulk(settings, len(pinned)), pinned)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and free the device."""
        self._stack.close()

    def submit(self, requests: Sequence[RowRequest]) -> Future[list[list[RowAnswer]]]:
        """Answer a block of rows; the result has the answers of each version, in the order of the rows.

        The result raises HubError if the block could not be answered for a reason that is not its rows'.
        """
        return asyncio.run_coroutine_threadsafe(self._block(requests), self._loop)

    def _open(self, settings: Settings, pinned: Sequence[PinnedVersion]) -> None:
        registry = activate(Registry.of(settings))
        self._stack.callback(registry.unload)
        store = self._stack.enter_context(Store.of(settings))
        self._loop = self._stack.enter_context(_LoopThread()).loop
        routes = [_route(registry, store, one) for one in pinned]
        self.tasks: list[LoadedTask] = [route.task for route in routes]
        meter = Meter()
        self._pipeline = Pipeline(settings.limits, self._loop, meter=meter)
        self._stack.callback(self._pipeline.close)
        workers = BaseWorkers(store.bases, settings, deliver=self._pipeline.forwarded, meter=meter)
        self._stack.callback(workers.close)
        residency = Residency(
            workers,
            meter,
            store.fetch,
            timeout_s=settings.serve.load_timeout_s,
            max_rank=settings.serve.max_rank,
            rehearse=partial(rehearse_on, registry, self._pipeline.pool),
        )
        self._stack.callback(residency.close)
        self._router = Router(residency)
        self._resolves = [partial(_fixed, route) for route in routes]
        for route in routes:  # one after another: they may share a base
            with residency.held(route.version):
                pass
        for worker in workers.all():  # else the backbone that answers would change in the middle of the job
            worker.engine.settle(SETTLE_S)
        self._short = SHORT_ROW_CHARS if all(worker.engine.packs for worker in workers.all()) else 0
        self._places = asyncio.Semaphore(CALLS_AT_ONCE)

    async def _block(self, requests: Sequence[RowRequest]) -> list[list[RowAnswer]]:
        answers: list[list[RowAnswer]] = [[{} for _ in requests] for _ in self.tasks]
        good: list[int] = []
        for row, request in enumerate(requests):
            if isinstance(request, str):
                for of_version in answers:
                    of_version[row] = BadData(request)
            else:
                good.append(row)
        # Rows of one length share forwards with little padding, and tokenize in about the same time. An
        # engine that packs rows pads least where short ones come as they are: see `FairQueue`.
        good.sort(key=lambda row: max(_length(requests[row]), self._short))
        calls = [good[start : start + ROWS_PER_CALL] for start in range(0, len(good), ROWS_PER_CALL)]
        found = await asyncio.gather(*(self._call([requests[row] for row in call]) for call in calls))
        for call, of_call in zip(calls, found, strict=True):
            for of_version, its_answers in zip(answers, of_call, strict=True):
                for row, answer in zip(call, its_answers, strict=True):
                    of_version[row] = answer
        return answers

    async def _call(self, requests: Sequence[RowRequest]) -> list[list[RowAnswer]]:
        async with self._places:
            parsed = [[_parsed(request, task.request) for request in requests] for task in self.tasks]
            return await self._answered(parsed)

    async def _answered(self, parsed: Sequence[Sequence[BaseModel | HubError]]) -> list[list[RowAnswer]]:
        """Answer one call; one that fails as a whole is split, until a row fails alone."""
        with ExitStack() as leases:
            admitted = await self._router.admit_each(self._resolves)
            admissions = [leases.enter_context(one) for one in admitted if isinstance(one, Admission)]
            for one in admitted:
                if isinstance(one, HubError):
                    raise one
            found = await self._run(admissions, parsed)
        failed = next((one for one in found if isinstance(one, HubError)), None)
        if failed and len(parsed[0]) > 1:
            middle = len(parsed[0]) // 2
            first = await self._answered([requests[:middle] for requests in parsed])
            second = await self._answered([requests[middle:] for requests in parsed])
            return [one + other for one, other in zip(first, second, strict=True)]
        return [
            [one] * len(requests) if isinstance(one, HubError) else _outcomes(one)
            for requests, one in zip(parsed, found, strict=True)
        ]

    async def _run(
        self, admissions: Sequence[Admission], parsed: Sequence[Sequence[BaseModel | HubError]]
    ) -> list[CallAnswers | HubError]:
        found: list[CallAnswers | HubError] = []
        if len(admissions) == 1:  # with nothing to share
            try:
                found.append(await self._pipeline.run(admissions[0], parsed[0]))
            except HubError as error:
                found.append(error)
        else:
            found = await self._pipeline.run_together(admissions, parsed)
        for one in found:
            if isinstance(one, HubError) and not isinstance(one, _SPLIT):
                raise one  # not the fault of a row
        return found


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="bulk", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_cancel_others(), self.loop).result(10.0)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _for_bulk(settings: Settings, versions: int) -> Settings:
    """Return settings with a slot for each version, and limits that protect no server."""
    serve = settings.serve.model_copy(update={"slots": versions, "adapter_cache_mb": 0, "replicas": 1})
    limits = settings.limits.model_copy(update={"rows": MAX_ROWS, "queued_rows": MAX_ROWS})
    return settings.model_copy(update={"serve": serve, "limits": limits})


def _route(registry: Registry, store: Store, pinned: PinnedVersion) -> Route:
    version = pinned.find(store)
    task = registry.task(version.manifest.serving.task)
    deployment = Deployment(pinned.deployment, task.spec.name, version, None, 0, datetime.now(UTC))
    return Route(deployment, task, Target.of(version), pinned=True)


def _fixed(route: Route, routes: Routes) -> Route:
    return route


def _length(request: RowRequest) -> int:
    """Return about how long the texts of a request are."""
    values = request.values() if isinstance(request, Mapping) else ()
    return sum(len(value) for value in values if isinstance(value, str | list))


def _parsed(request: RowRequest, model: type[BaseModel]) -> BaseModel | HubError:
    assert not isinstance(request, str)
    try:
        return parse(
            to_json({name: value for name, value in request.items() if name in model.model_fields}), model
        )
    except HubError as error:
        return error


def _outcomes(answers: CallAnswers) -> list[RowAnswer]:
    return [
        item if isinstance(item, HubError) else from_json(body)
        for item, body in zip(answers.items, answers.bodies, strict=True)
    ]
