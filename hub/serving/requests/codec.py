"""The encode and decode stages of a call. A fault in one item's plugin code fails that item alone."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel

from hub.api import AdapterInfo, AnswerStream, Output, Row, Tokenizer
from hub.engine.protocol import EngineRow
from hub.errors import BadDimensions, BadRequest, BadSampling, HubError, PluginFailed, PluginMemory, log_fault
from hub.registry.host import LoadedTask
from hub.serving.plugins.faults import PluginFaults
from hub.serving.plugins.own_copies import own_request
from hub.serving.plugins.redact import exception_text
from hub.serving.plugins.returned import TooMuchReturned, WrongReturn, check_answer, check_rows, check_stream
from hub.serving.plugins.stopping import Stopped
from hub.serving.routing.router import Held

__all__ = [
    "Answered",
    "Encoded",
    "Outcome",
    "Request",
    "decode",
    "encode",
    "fault",
    "open_stream",
    "own_requests",
]

log = logging.getLogger(__name__)

Request = BaseModel | HubError  # a request that failed to parse keeps its place
Encoded = list[EngineRow] | HubError
Outcome = BaseModel | HubError


class Answered(NamedTuple):
    """The answer to one request and its JSON, or the request's error."""

    outcome: Outcome
    body: bytes = b""


def own_requests(task: LoadedTask, faults: PluginFaults, requests: Sequence[Request]) -> list[Request]:
    """Return requests that plugin code may change, because nothing else reads them."""
    own: list[Request] = []
    for request in requests:
        try:
            own.append(request if isinstance(request, HubError) else own_request(request))
        except BaseException as error:  # the plugin's fields decide how they are copied
            own.append(fault(task, faults, "encode", error, request))
    return own


def encode(
    task: LoadedTask,
    faults: PluginFaults,
    held: Held,
    requests: Sequence[Request],
    tokenizer: Tokenizer,
    info: AdapterInfo,
) -> list[Encoded]:
    """Encode each request into rows at the slot of `held`, or into an error; `info` is its adapter."""
    return [
        request if isinstance(request, HubError) else _rows(task, faults, held, request, tokenizer, info)
        for request in requests
    ]


def open_stream(
    task: LoadedTask, faults: PluginFaults, info: AdapterInfo, request: Request, encoded: Encoded
) -> AnswerStream | HubError | None:
    """Return what turns the texts of an encoded request into parts of its answer; None if nothing does."""
    if isinstance(request, HubError) or isinstance(encoded, HubError):
        return None
    try:
        rows = [row.row for row in encoded]
        return check_stream(task.task.stream(request, rows, info))
    except BaseException as error:
        return fault(task, faults, "stream", error, request)


def decode(
    task: LoadedTask,
    faults: PluginFaults,
    info: AdapterInfo,
    requests: Sequence[Request],
    encoded: Sequence[Encoded],
    outcomes: Sequence[Output | HubError | None],
) -> list[Answered]:
    """Decode the outcomes of the rows, in their order, into an answer or an error for each request."""
    answers: list[Answered] = []
    at = 0
    for request, rows in zip(requests, encoded, strict=True):
        if isinstance(request, HubError):
            answers.append(Answered(request))
        elif isinstance(rows, HubError):
            answers.append(Answered(rows))
        else:
            answers.append(_answer(task, faults, info, request, outcomes[at : at + len(rows)]))
            at += len(rows)
    return answers


def fault(
    task: LoadedTask, faults: PluginFaults, step: str, error: BaseException, *private: object
) -> PluginFailed:
    """Log where a plugin failed, and return the error for the caller.

    The exception's message is logged only if `private` is given: texts of the caller that it may quote.
    """
    if isinstance(error, Stopped):
        raise error  # the call was given up, and this thread is to end
    name, plugin = task.spec.name, faults.plugin
    if isinstance(error, TooMuchReturned):
        faults.count(step, "memory")
        _log_wrong_return(task, plugin, step, error)
        return PluginMemory(f"The task {name!r} {error}, in {step}: a fault in the plugin {plugin!r}.")
    if isinstance(error, WrongReturn):
        faults.count(step, "wrong_return")
        _log_wrong_return(task, plugin, step, error)
        return PluginFailed(f"The task {name!r} {error}, in {step}: a fault in the plugin {plugin!r}.")
    faults.count(step, "raised")
    message = exception_text(error, *private) if private else ""
    log_fault(log, f"Task {name}, plugin {plugin}, failed in {step}", error, message)
    return PluginFailed(
        f"The task {name!r} failed in {step} ({type(error).__name__}): a fault in the plugin {plugin!r}. "
        "See the server's log."
    )


def _rows(
    task: LoadedTask,
    faults: PluginFaults,
    held: Held,
    request: BaseModel,
    tokenizer: Tokenizer,
    info: AdapterInfo,
) -> Encoded:
    try:
        returned: object = task.task.encode(request, tokenizer, info)
        limit = min(held.base_worker.base.max_length, info.max_length)
        rows: Sequence[Row] = check_rows(returned, limit, info.image)
    except BadRequest as error:
        return error
    except HubError as error:  # such as an option that this version of the plugin does not know
        failed = fault(task, faults, "encode", error, request)
        return PluginFailed(f"{failed} {error}")
    except BaseException as error:  # sys.exit() in a plugin is a fault of its call
        return fault(task, faults, "encode", error, request)
    return [EngineRow(row, held.lease.slot, task.spec.head) for row in rows]


def _answer(
    task: LoadedTask,
    faults: PluginFaults,
    info: AdapterInfo,
    request: BaseModel,
    outcomes: Sequence[Output | HubError | None],
) -> Answered:
    outputs: list[Output] = []
    for outcome in outcomes:
        if isinstance(outcome, BadRequest) and not isinstance(outcome, BadSampling):
            # The engine refused a row, which encode made and not the caller.
            wrong = WrongReturn(f"made a row that the base cannot take ({outcome})")
            return Answered(fault(task, faults, "encode", wrong))
        if isinstance(outcome, HubError):
            return Answered(outcome)
        assert outcome is not None, "a settled job has an outcome for every row"
        outputs.append(outcome)
    try:
        answer: object = task.task.decode(request, outputs, info)
        checked, body = check_answer(answer, task.response)
    except BadDimensions as error:
        return Answered(error)
    except BaseException as error:  # at this stage no other error is the caller's
        return Answered(fault(task, faults, "decode", error, request, [output.text for output in outputs]))
    return Answered(checked, body)


def _log_wrong_return(task: LoadedTask, plugin: str, step: str, error: WrongReturn) -> None:
    code = getattr(inspect.unwrap(getattr(type(task.task), step)), "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno}" if code else task.spec.factory
    log.error("Task %s, plugin %s: %s, in %s at %s", task.spec.name, plugin, error, step, where)
