"""Load on one deployment during a swap, and a check of every answer."""

from __future__ import annotations

import ssl
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx

__all__ = ["SwapAnswer", "SwapResult", "SwapWatch", "reference"]

# Two float32 forwards of one version differ by far less, two versions by far more; in bf16, by up to 0.004.
TOLERANCE = 1e-3
Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SwapAnswer:
    """One answer: the text, start and duration in seconds, the version that answered and its scores."""

    text: str
    asked: float
    seconds: float
    version: str = ""
    scores: Scores | None = None  # None: the request failed


@dataclass(frozen=True, slots=True)
class SwapResult:
    """Counts and latencies of the requests during a swap."""

    sent: int
    failed: int
    wrong: int
    by_version: Mapping[str, int]
    median_ms: float
    slowest_ms: float


def ask(client: httpx.Client, deployment: str, text: str) -> SwapAnswer:
    """Send one request; a failure is an answer without scores."""
    asked = time.monotonic()
    try:
        reply = client.post(f"/v1/deployments/{deployment}/predict", json={"text": text})
        reply.raise_for_status()
        scores: dict[str, float] = reply.json()["scores"]
    except (httpx.HTTPError, KeyError, ValueError):
        return SwapAnswer(text, asked, time.monotonic() - asked)
    return SwapAnswer(text, asked, time.monotonic() - asked, reply.headers["x-hub-version"], scores)


def reference(client: httpx.Client, deployment: str, texts: Sequence[str]) -> dict[str, Scores | None]:
    """Return the deployment's scores for each text, measured without other load."""
    return {text: ask(client, deployment, text).scores for text in texts}


@dataclass
class SwapWatch:
    """Client threads that send requests without a pause while `running` is open."""

    url: str
    deployment: str
    texts: Sequence[str]
    clients: int = 4
    verify: ssl.SSLContext | bool = True
    answers: list[SwapAnswer] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._keep_asking, args=(stop, n)) for n in range(self.clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _keep_asking(self, stop: threading.Event, offset: int) -> None:
        texts = cycle([*self.texts[offset:], *self.texts[:offset]])
        with httpx.Client(base_url=self.url, timeout=30, verify=self.verify, trust_env=False) as client:
            while not stop.is_set():
                self.answers.append(ask(client, self.deployment, next(texts)))

    def result(
        self, expected: Mapping[str, Mapping[str, Scores | None]], live: str, since: float
    ) -> SwapResult:
        """Count failures and wrong answers.

        An answer is wrong if its scores differ from those of its version (`expected`: version -> text ->
        scores), or if another version than `live` answered a request that was sent after `since`.
        """
        good = [answer for answer in self.answers if answer.scores is not None]
        wrong = sum(
            not _equal(answer.scores, expected.get(answer.version, {}).get(answer.text))
            or (answer.asked > since and answer.version != live)
            for answer in good
        )
        times = [answer.seconds * 1000 for answer in good] or [0.0]
        counts = {name: sum(answer.version == name for answer in good) for name in expected}
        failed = len(self.answers) - len(good)
        return SwapResult(len(self.answers), failed, wrong, counts, statistics.median(times), max(times))


def _equal(got: Scores | None, want: Any) -> bool:
    if got is None or want is None or got.keys() != want.keys():
        return False
    return all(abs(got[label] - want[label]) <= TOLERANCE for label in want)
