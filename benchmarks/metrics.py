"""Measures what counting and logging one call costs: `python -m benchmarks.metrics`."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from hub.config import load_settings

CALLS = 20_000
ROUNDS = 5
ABOUT = {1: "counted by one worker, in memory", 2: "counted by one of several workers, in files"}


def main() -> None:
    """Measure in a process for each kind of storage, which prometheus_client chooses once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, help=argparse.SUPPRESS)
    replicas = parser.parse_args().replicas
    if replicas:
        show(ABOUT[replicas], count(replicas))
        return
    for number in ABOUT:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.metrics", "--replicas", str(number)]
            environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder}
            subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    show("logged as a line of JSON", access_log())


def show(what: str, seconds: float) -> None:
    """Print a time in microseconds."""
    print(f"{what}: {seconds * 1e6:.1f} µs for a call", flush=True)


def count(replicas: int) -> float:
    """Return the seconds to count a call."""
    from hub.http.metrics.metrics import Metrics

    metrics = Metrics(load_settings(flags={"serve": {"replicas": replicas}}))
    metrics.published(["mood"])
    call = _call({})
    return _least(lambda: metrics.ended(call))


def access_log() -> float:
    """Return the seconds that the access log adds to a request."""
    from hub.http.gate import NUMBER, TEMPLATE
    from hub.http.telemetry.access_log import AccessLog
    from hub.http.telemetry.logs import JsonLines

    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        logger = logging.getLogger("hub.access")
        handler = logging.StreamHandler(nowhere)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        scope: Any = {
            "type": "http",
            "method": "POST",
            NUMBER: "r-1",
            TEMPLATE: "/v1/deployments/{name}/predict",
        }
        _call(scope)

        async def answer(*given: object) -> None:
            return

        logged: Any = AccessLog(answer, errors_only=False)
        return _least(lambda: _run(logged(scope, None, None))) - _least(lambda: _run(answer()))


def _call(scope: dict[str, Any]) -> Any:
    from hub.http.telemetry.record import CallRecord
    from hub.serving.requests.call_answers import CallAnswers

    call: Any = CallRecord(scope)
    call.route = SimpleNamespace(name="mood", task=SimpleNamespace(spec=SimpleNamespace(name="sentiment")))
    call.version = "mood@3"
    items: Any = [None]
    call.end("ok", CallAnswers(items, [b""], 0.001, 0.002, None, 1, 12))
    return call


def _run(coroutine: Any) -> None:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def _least(work: Callable[[], None]) -> float:
    """Return the seconds of one call, the least of several rounds."""
    return min(_round(work) for _ in range(ROUNDS))


def _round(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        work()
    return (time.perf_counter() - began) / CALLS


if __name__ == "__main__":
    main()
