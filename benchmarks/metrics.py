"""Measures how long it takes to count one call: `python -m benchmarks.metrics`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace
from typing import Any

from hub.config import load_settings

CALLS = 50_000
ROUNDS = 5
ABOUT = {1: "one worker, in memory", 2: "one of several workers, in files"}


def main() -> None:
    """Measure in a process for each kind of storage, which prometheus_client chooses once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, help=argparse.SUPPRESS)
    replicas = parser.parse_args().replicas
    if replicas:
        print(f"{ABOUT[replicas]}: {measure(replicas) * 1e6:.1f} µs for a call", flush=True)
        return
    for number in ABOUT:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.metrics", "--replicas", str(number)]
            environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder}
            subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)


def measure(replicas: int) -> float:
    """Return the seconds to count a call, the least of several rounds."""
    from hub.http.metrics.metrics import Metrics
    from hub.http.telemetry.record import CallRecord
    from hub.serving.requests.call import CallAnswers

    metrics = Metrics(load_settings(flags={"serve": {"replicas": replicas}}))
    metrics.published(["mood"])
    call = CallRecord({})
    task: Any = SimpleNamespace(name="mood", task=SimpleNamespace(spec=SimpleNamespace(name="sentiment")))
    call.route = task
    call.end("ok", CallAnswers([None], [b""], 0.001, 0.002, None, 1, 12))  # type: ignore[list-item]
    return min(_round(metrics, call) for _ in range(ROUNDS))


def _round(metrics: Any, call: Any) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        metrics.ended(call)
    return (time.perf_counter() - began) / CALLS


if __name__ == "__main__":
    main()
