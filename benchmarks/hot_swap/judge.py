"""Says of every answer whether it is right, wrong or a failure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.hot_swap.home import Telltale
from benchmarks.hot_swap.timeline import Live, Timeline

__all__ = ["Answer", "Judge", "Verdicts"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply to a question, and when it was asked and answered; status 0: the connection broke."""

    deployment: str
    text: str
    asked: float
    answered: float
    status: int = 0
    served: str = ""  # x-hub-deployment
    ref: str = ""  # x-hub-version
    sha256: str = ""  # x-hub-sha256
    body: bytes = b""
    problem: str = ""  # of a stream: why it is no whole answer


@dataclass
class Verdicts:
    """How many answers there were of each kind, and examples of what is not right."""

    answered: int = 0
    absent: int = 0  # rightly 404
    failed: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.answered + self.absent + self.failed.total()


class Judge:
    """Holds every answer against the truth about contents and about what was live."""

    def __init__(self, truth: Telltale, timeline: Timeline) -> None:
        self._truth = truth
        self._timeline = timeline

    def all(self, answers: Iterable[Answer]) -> Verdicts:
        """Judge answers."""
        verdicts = Verdicts()
        for answer in answers:
            failure, fault = self.failure(answer), None
            if failure:
                verdicts.failed[failure] += 1
            elif answer.status == 404:
                verdicts.absent += 1
            else:
                verdicts.answered += 1
                if fault := self.fault(answer):
                    verdicts.wrong[fault] += 1
            if (problem := failure or fault) and len(verdicts.examples) < 20:
                verdicts.examples.append(
                    f"{answer.deployment} {answer.ref}: {problem}; {answer.body[:300]!r}"
                )
        return verdicts

    def failure(self, answer: Answer) -> str | None:
        """Say why a request got no answer that it may get; None: it got one, right or wrong."""
        if answer.status == 200:
            return answer.problem or None
        if answer.status == 0:
            return "connection broken"
        code = json.loads(answer.body)["error"]["code"]
        if (answer.status, code) != (404, "not_found"):
            return f"{answer.status} {code}"
        allowed = self._timeline.allowed(answer.deployment, answer.asked, answer.answered)
        return None if None in allowed else "404 for a deployment that is there"

    def fault(self, answer: Answer) -> str | None:
        """Say what is wrong with an answer that was given; None: nothing."""
        allowed = self._timeline.allowed(answer.deployment, answer.asked, answer.answered)
        if answer.served != answer.deployment:
            return "answered for another deployment"
        if Live(answer.ref, answer.sha256) not in allowed:
            return "a version that was not live"
        return self._truth.fault(answer.sha256, answer.text, answer.body)
