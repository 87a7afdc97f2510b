"""What a task does for a call: requests to rows, outputs to answers. A fault in it fails its own item."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pydantic import BaseModel

from hub.api import Output, Tokenizer
from hub.engine.protocol import EngineRow
from hub.errors import HubError
from hub.registry.host import LoadedTask
from hub.serving.faults import log_fault
from hub.serving.router import Held

__all__ = ["Encoded", "Outcome", "Request", "decode", "encode", "fault"]

log = logging.getLogger(__name__)

Request = BaseModel | HubError  # an item that was refused already keeps its place
Encoded = list[EngineRow] | HubError
Outcome = BaseModel | HubError


def encode(task: LoadedTask, held: Held, requests: Sequence[Request]) -> list[Encoded]:
    """Turn each request into rows at the slot of `held`, or into the error that says why not."""
    with held.lane.tokenizers.borrow() as tokenizer:
        return [
            request if isinstance(request, HubError) else _rows(task, held, request, tokenizer)
            for request in requests
        ]


def decode(
    task: LoadedTask,
    held: Held,
    requests: Sequence[Request],
    encoded: Sequence[Encoded],
    outcomes: Sequence[Output | HubError | None],
) -> list[Outcome]:
    """Turn what became of the rows, in their order, into an answer to each request or its error."""
    answers: list[Outcome] = []
    at = 0
    for request, rows in zip(requests, encoded, strict=True):
        if isinstance(request, HubError):
            answers.append(request)
        elif isinstance(rows, HubError):
            answers.append(rows)
        else:
            answers.append(_answer(task, held, request, outcomes[at : at + len(rows)]))
            at += len(rows)
    return answers


def fault(task: LoadedTask, step: str, error: Exception) -> HubError:
    """Log where a plugin failed, and return the error for the caller."""
    name = task.spec.name
    log_fault(log, f"Task {name} failed in {step}", error)
    return HubError(
        f"The task {name!r} failed in {step} ({type(error).__name__}): a fault in the plugin. The server's "
        "log says where."
    )


def _rows(task: LoadedTask, held: Held, request: BaseModel, tokenizer: Tokenizer) -> Encoded:
    spec, base = task.spec, held.lane.base
    try:
        rows = task.task.encode(request, tokenizer, held.target.info)
    except HubError as error:
        return error
    except Exception as error:
        return fault(task, "encode", error)
    if any(not 0 < len(row.input_ids) <= base.max_length for row in rows):
        return HubError(
            f"The task {spec.name!r} made a row that is empty or longer than the {base.max_length} tokens "
            f"that base {base.name!r} takes: a fault in the plugin."
        )
    return [EngineRow(row, held.lease.slot, spec.head) for row in rows]


def _answer(
    task: LoadedTask, held: Held, request: BaseModel, outcomes: Sequence[Output | HubError | None]
) -> Outcome:
    outputs: list[Output] = []
    for outcome in outcomes:
        if isinstance(outcome, HubError):
            return outcome
        assert outcome is not None, "a settled job has an outcome for every row"
        outputs.append(outcome)
    try:
        answer: BaseModel = task.task.decode(request, outputs, held.target.info)
    except HubError as error:
        return error
    except Exception as error:
        return fault(task, "decode", error)
    return answer
