"""Latency of requests alone and beside a running training job, with and without its lower priority.

`python -m benchmarks.jobs`. One server of ours on MiniLM at a time, with 16 random adapters; a job trains on
the same base until it is cancelled. Requests alone and beside the job are measured in turns, so that a busy
machine is busy for both. `p99_ratio_*` is the p99 beside the job over the p99 alone.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.report import Target, report
from benchmarks.serve.contenders import OURS, Contender
from benchmarks.serve.measure import load, text
from benchmarks.serve.prepare import prepare, say
from benchmarks.server import HubServer, hub_server
from hub.bases.cache import Bases
from hub.config import JobSettings, find_home

CLIENTS = (1, 8)
DEPLOYMENTS = 16
ROWS = 2000
NICES = (JobSettings().nice, 0)
LIMIT_S = 600.0
TARGETS: dict[str, Target] = {}
FIGURES = ("rps", "p50_ms", "p99_ms")
LONG = {"task": "sentiment", "recipe.evaluate.int8": "false", "recipe.train.patience": "0"}

Measured = dict[tuple[str, int], list[dict[str, float]]]


def main() -> bool:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each; their median counts")
    options = parser.parse_args()
    measured: Measured = {}
    with tempfile.TemporaryDirectory(prefix="bench-jobs-") as name:
        folder = Path(name)
        prepare(folder, Bases(find_home()).pull("minilm"))
        for nice in NICES:
            os.environ["HUB_JOBS__NICE"] = str(nice)
            with hub_server(folder / "home") as server, _client(server) as client:
                for turn in range(options.rounds):
                    say(f"nice {nice}, round {turn + 1}: alone")
                    _ask(measured, f"alone (nice {nice})", server, folder, options.seconds)
                    with _job(client):
                        say(f"nice {nice}, round {turn + 1}: beside a job")
                        _ask(measured, f"beside a job, nice {nice}", server, folder, options.seconds)
    return _report(measured)


def _ask(measured: Measured, name: str, server: HubServer, folder: Path, seconds: float) -> None:
    ours = Contender(OURS, server.port, lambda text, to: (f"/v1/deployments/{to}/predict", {"text": text}))
    for clients in CLIENTS:
        measured.setdefault((name, clients), []).append(load(ours, clients, DEPLOYMENTS, folder, seconds))


@contextmanager
def _client(server: HubServer) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as client:
        yield client


@contextmanager
def _job(client: httpx.Client) -> Iterator[None]:
    """Train while the block runs: from the first step that is reported until the job is gone."""
    chance = random.Random(1)
    labels = ("negative", "positive")
    rows = "".join(f"{text(chance)},{labels[number % 2]}\n" for number in range(ROWS))
    form = {"file": ("rows.csv", f"text,label\n{rows}".encode())}
    file = _done(client.post("/files", files=form, data={"purpose": "fine-tune"}))["id"]
    hyperparameters = {"n_epochs": 1000}
    body = {"model": "minilm", "training_file": file, "metadata": LONG, "hyperparameters": hyperparameters}
    job = _done(client.post("/fine_tuning/jobs", json=body))["id"]
    _wait(lambda: any(event["type"] == "metrics" for event in _events(client, job)))
    yield
    assert _done(client.get(f"/fine_tuning/jobs/{job}"))["status"] == "running"
    _done(client.post(f"/fine_tuning/jobs/{job}/cancel"))
    time.sleep(2.0)  # its process ends


def _events(client: httpx.Client, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _done(client.get(f"/fine_tuning/jobs/{job}/events"))["data"]
    return found


def _done(reply: httpx.Response) -> dict[str, Any]:
    if not reply.is_success:
        raise SystemExit(f"{reply.request.url}: {reply.text}")
    found: dict[str, Any] = reply.json()
    return found


def _wait(holds: Any) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("The job did not begin to train in time.")
        time.sleep(0.5)


def _report(measured: Measured) -> bool:
    medians = {
        key: {name: statistics.median(one[name] for one in found) for name in FIGURES}
        for key, found in measured.items()
    }
    rows = [
        [name, clients, *(f"{one[key]:.1f}" for key in FIGURES)]
        for (name, clients), one in sorted(medians.items(), key=lambda item: item[0][1])
    ]
    figures: dict[str, float] = {}
    for nice in NICES:
        for clients in CLIENTS:
            alone = medians[f"alone (nice {nice})", clients]
            beside = medians[f"beside a job, nice {nice}", clients]
            for name in ("p50", "p99"):
                figures[f"{name}_alone_ms_nice{nice}_{clients}"] = alone[f"{name}_ms"]
                figures[f"{name}_beside_ms_nice{nice}_{clients}"] = beside[f"{name}_ms"]
                figures[f"{name}_ratio_nice{nice}_{clients}"] = beside[f"{name}_ms"] / alone[f"{name}_ms"]
    return report("jobs", ("REQUESTS", "CLIENTS", "RPS", "P50 MS", "P99 MS"), rows, figures, TARGETS)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
