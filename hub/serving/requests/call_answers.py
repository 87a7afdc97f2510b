"""The answers of a call, with what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from hub.api import FinishReason, Output
from hub.errors import HubError
from hub.serving.batching.fair_queue import Job
from hub.serving.requests.codec import Answered, Outcome

__all__ = ["CallAnswers", "Usage", "answers_of"]


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a call that generated text, and why the text ended (None where a row failed).

    `cached_tokens` of the prompt were not computed again.
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None


@dataclass(frozen=True, slots=True)
class CallAnswers:
    """The outcome of each request, in order, and the seconds spent.

    `bodies` has the JSON of each answer, and b"" for an error. `rows` and `tokens` are those of the model's
    input; `usage` that of generated text.
    """

    items: Sequence[Outcome]
    bodies: Sequence[bytes]
    queue_s: float = 0.0
    engine_s: float = 0.0
    usage: Usage | None = None
    rows: int = 0
    tokens: int = 0

    @property
    def any_answered(self) -> bool:
        """True unless every request failed."""
        return any(isinstance(item, BaseModel) for item in self.items)

    def only(self) -> bytes:
        """Return the JSON answer of a call with one request, or raise its error."""
        (item,), (body,) = self.items, self.bodies
        if isinstance(item, HubError):
            raise item
        return body


def answers_of(answered: Sequence[Answered], job: Job | None) -> CallAnswers:
    """Return the outcomes of a call with what its job cost; one without rows had no job."""
    items, bodies = [one.outcome for one in answered], [one.body for one in answered]
    if job is None:
        return CallAnswers(items, bodies)
    tokens = sum(len(row.row.input_ids) for row in job.rows)
    usage = _usage_of(job.outcomes)
    return CallAnswers(items, bodies, job.queue_s, job.engine_s, usage, len(job.rows), tokens)


def _usage_of(outcomes: Sequence[Output | HubError | None]) -> Usage | None:
    """Add up the generated tokens of a call; None if it generated none."""
    outputs = [outcome for outcome in outcomes if isinstance(outcome, Output) and outcome.tokens]
    if not outputs:
        return None
    reasons = [output.finish_reason for output in outputs]
    return Usage(
        sum(len(output.row.input_ids) for output in outputs),
        sum(output.cached_tokens for output in outputs),
        sum(output.tokens for output in outputs),
        FinishReason.LENGTH if FinishReason.LENGTH in reasons else reasons[0],
    )
