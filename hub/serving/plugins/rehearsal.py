"""Rehearsal: before a version goes live, it answers the examples of its task on the path of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from hub.api import AdapterInfo, HeadKind, Output, Row, Tokenizer, read_options
from hub.bases.base import Base
from hub.config import LimitSettings
from hub.engine.protocol import AdapterWeights, Engine, EngineRow
from hub.errors import (
    BadAdapter,
    BadPlugin,
    BadRequest,
    HubError,
    NotReady,
    PluginFailed,
    PluginSuspended,
    PluginTimeout,
)
from hub.registry.host import Registry
from hub.registry.loaded import LoadedTask, describe_failure
from hub.serving.batching.probe import NewSlot
from hub.serving.plugins.pool import PluginPool
from hub.serving.plugins.returned import (
    WrongReturn,
    check_answer,
    check_part,
    check_rows,
    check_stream,
    non_finite,
)
from hub.store.records import Version

__all__ = ["Rehearsal", "rehearse_alone", "rehearse_on"]

FEW_TOKENS = 16  # generated at first; the full number only if the task cannot decode these
EXAMPLES = 4

Run = Callable[[Sequence[Row]], Sequence[Output]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Answers a task's examples with the adapter of `info`; `name` is its name in messages.

    `run` computes rows at its slot, `borrow` lends a tokenizer; `pool` has the threads and the time limit for
    plugin code. With `real` False, `run` returns made-up values, and generated text is not decoded.
    """

    name: str
    info: AdapterInfo
    loaded: LoadedTask
    borrow: Callable[[], AbstractContextManager[Tokenizer]]
    max_length: int
    run: Run
    pool: PluginPool
    real: bool = True

    def check(self) -> None:
        """Answer the examples of the task's request model.

        An example that the task rejects as a bad request, such as a language the adapter does not know, is
        retried with its required fields only, and ignored if that is rejected too.

        Raises:
            BadAdapter: its labels or settings are unsound, or an example cannot be answered.
            BadPlugin: the task does not return in time.
            PluginSuspended, NotReady: as for a request.
            EngineFailed: the engine failed.
        """
        self._check_info()
        for request in _requests(self.loaded.request):
            for attempt in (request, _required_only(request)):
                try:
                    self._answer(attempt)
                except BadRequest:
                    continue
                break

    def _check_info(self) -> None:
        labels = self.info.labels
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise self._refusal(f"two of its labels are {twice[0]!r}.")
        if not all(labels):
            raise self._refusal("one of its labels is empty.")
        if found := non_finite(self.info.settings):
            raise self._refusal(f"its setting {found} is NaN or infinite.")
        try:
            read_options(self.loaded.task.options, self.info)
        except HubError as error:
            raise self._refusal(str(error)) from None

    def _answer(self, request: BaseModel) -> None:
        rows = self._rows(request)
        generates = self.loaded.spec.head is HeadKind.GENERATE
        if generates and not self.real:
            return
        outputs = self.run([_shortened(row) for row in rows] if generates else rows)
        try:
            self._decode(request, outputs)
        except BadAdapter:
            if not any(row.max_new_tokens > FEW_TOKENS for row in rows):
                raise
            outputs = self.run(rows)
            self._decode(request, outputs)
        if generates:
            self._stream(request, outputs)

    def _rows(self, request: BaseModel) -> Sequence[Row]:
        def encode() -> Sequence[Row]:
            with self.borrow() as tokenizer:
                rows: object = self.loaded.task.encode(request, tokenizer, self.info)
            return check_rows(rows, min(self.max_length, self.info.max_length), self.info.image)

        return self._call("encode", encode)

    def _decode(self, request: BaseModel, outputs: Sequence[Output]) -> None:
        def decode() -> None:
            answer: object = self.loaded.task.decode(request, list(outputs), self.info)
            try:
                check_answer(answer, self.loaded.response)
            except WrongReturn:
                # The example is not a caller's text, so the message may name the field.
                if isinstance(answer, BaseModel) and (at := non_finite(answer)):
                    raise WrongReturn(f"returned NaN or infinity as {at}") from None
                raise

        self._call("decode", decode)

    def _stream(self, request: BaseModel, outputs: Sequence[Output]) -> None:
        def stream() -> None:
            rows = [output.row for output in outputs]
            if found := check_stream(self.loaded.task.stream(request, rows, self.info)):
                for row, output in enumerate(outputs):
                    check_part(found.add(row, output.text))
                    check_part(found.end(row))

        self._call("stream", stream)

    def _call(self, step: str, call: Callable[[], T]) -> T:
        try:
            return self.pool.call(self.loaded.spec.name, step, call)
        except PluginTimeout:
            raise BadPlugin(
                f"{self.name} cannot be put live: {step} of the task {self.loaded.spec.name!r} has not "
                "returned within limits.plugin_timeout_s, a fault in the plugin. Repair or disable it, then "
                "run `hub plugins reload`."
            ) from None
        except (BadRequest, NotReady, PluginSuspended):
            raise
        except WrongReturn as error:
            raise self._refusal(f"{step} {error}.") from None
        except PluginFailed as error:  # a plugin may even call sys.exit()
            raise self._refusal(f"{step} raises {describe_failure(error.__cause__ or error)}") from error
        except HubError as error:
            raise self._refusal(str(error)) from error
        except Exception as error:
            raise self._refusal(f"{step} raises {describe_failure(error)}") from error

    def _refusal(self, reason: str) -> BadAdapter:
        return BadAdapter(
            f"{self.name} cannot answer the example of the task {self.loaded.spec.name!r}: {reason} Correct "
            "its labels, options or weights and train or import it again."
        )


def rehearse_on(registry: Registry, pool: PluginPool, new_slot: NewSlot, version: Version) -> None:
    """Answer the examples of a version's task at the slot that it was written to; raises as `Rehearsal`."""
    loaded = registry.task(version.manifest.serving.task)
    base_worker = new_slot.base_worker
    borrow, longest = base_worker.tokenizers.borrow, base_worker.base.max_length
    run = partial(new_slot.run, head=loaded.spec.head)
    Rehearsal(str(version.ref), version.info, loaded, borrow, longest, run, pool).check()


def rehearse_alone(
    name: str,
    info: AdapterInfo,
    loaded: LoadedTask,
    base: Base,
    engine: Engine | None = None,
    *,
    limits: LimitSettings | None = None,
) -> None:
    """Answer the examples outside a server, at slot 1 of an engine that the adapter was written to.

    Without an engine, the adapter's outputs are made up: this finds labels and settings that the task cannot
    use, and reads no weights. Raises as `Rehearsal`.
    """
    from hub.engine.fake import FakeEngine
    from hub.engine.tokenizer import load_tokenizer

    if engine is None:
        made_up = FakeEngine(1)
        made_up.write(1, AdapterWeights(loaded.spec.head, {}, {}, len(info.labels), sha256=""))
    running = engine or made_up

    def run(rows: Sequence[Row]) -> Sequence[Output]:
        return running.run([EngineRow(row, 1, loaded.spec.head) for row in rows])

    tokenizer: Tokenizer = load_tokenizer(base)  # not counted in the plugin's time
    limit_s = (limits or LimitSettings()).plugin_timeout_s
    with closing(PluginPool(limit_s, 1, lambda _: loaded.spec.factory.partition(":")[0])) as pool:
        Rehearsal(
            name,
            info,
            loaded,
            lambda: nullcontext(tokenizer),
            base.max_length,
            run,
            pool,
            real=engine is not None,
        ).check()


_EXAMPLES: WeakKeyDictionary[type[BaseModel], list[Any]] = WeakKeyDictionary()  # a schema takes a while


def _requests(model: type[BaseModel]) -> list[BaseModel]:
    if model not in _EXAMPLES:
        _EXAMPLES[model] = model.model_json_schema().get("examples", [])[:EXAMPLES]
    return [model.model_validate(example) for example in _EXAMPLES[model]]


def _required_only(request: BaseModel) -> BaseModel:
    model = type(request)
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    return model.model_construct(**{name: getattr(request, name) for name in required})


def _shortened(row: Row) -> Row:
    return replace(row, max_new_tokens=min(row.max_new_tokens, FEW_TOKENS))
