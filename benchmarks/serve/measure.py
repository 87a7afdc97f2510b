"""Runs the load generator on a contender, and watches the memory of a server."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.serve.contenders import Contender
from benchmarks.serve.prepare import say
from benchmarks.server import ROOT
from benchmarks.soak.growth import Sample

__all__ = ["Figures", "Load", "load", "measured", "sampled", "text"]

WORDS = ("the", "film", "story", "cast", "music", "ending", "is", "great", "dull", "funny", "slow", "not")
SAMPLE_S = 2.0
Load = tuple[int, int]  # clients, deployments
Figures = dict[str, float]


def text(chance: random.Random) -> str:
    """Draw a text of 5 to 30 words."""
    return " ".join(chance.choices(WORDS, k=chance.randint(5, 30)))


def load(
    contender: Contender, clients: int, deployments: int, folder: Path, seconds: float, rate: float = 0.0
) -> Figures:
    """Ask a contender, with `rate` requests a second if that is given; return what the clients saw."""
    chance = random.Random(clients * 100 + deployments)
    requests = [contender.request(text(chance), f"mood-{number % deployments}") for number in range(320)]
    plan = {
        "host": "127.0.0.1",
        "port": contender.port,
        "clients": clients,
        "seconds": seconds,
        "requests": requests,
        "rate": rate,
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", str(folder / "plan.json")],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )
    figures: Figures = json.loads(done.stdout)
    if figures["failed"]:
        raise SystemExit(f"{contender.name} failed {figures['failed']:.0f} requests: no fair comparison.")
    return figures


def measured(
    contenders: Sequence[Contender], loads: Sequence[Load], folder: Path, seconds: float, rounds: int
) -> dict[tuple[str, int, int], Figures]:
    """Ask the contenders in turns; return the median of the rounds by contender, clients and deployments."""
    found: dict[tuple[str, int, int], list[Figures]] = {}
    for turn in range(rounds):
        for clients, deployments in loads:
            for contender in contenders:
                say(f"round {turn + 1}: {contender.name}, {clients} clients, {deployments} deployments")
                figures = load(contender, clients, deployments, folder, seconds)
                found.setdefault((contender.name, clients, deployments), []).append(figures)
    return {
        key: {name: statistics.median(one[name] for one in figures) for name in figures[0]}
        for key, figures in found.items()
    }


@contextmanager
def sampled(pid: int) -> Iterator[list[Sample]]:
    """Sample the memory of a server's processes while the block runs."""
    samples: list[Sample] = []
    done = threading.Event()
    began = time.monotonic()

    def watch() -> None:
        while not done.wait(SAMPLE_S):
            used = [one.memory_full_info() for one in psutil.Process(pid).children(recursive=True)]
            rss, uss = (sum(getattr(one, name) for one in used) / 1e6 for name in ("rss", "uss"))
            samples.append(Sample(time.monotonic() - began, rss, uss))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
