"""Requests a second and latency over HTTP, ours beside a minimal BentoML service on plain PEFT.

`python -m benchmarks.serve`. Both servers run at once and are asked in turns by a load generator in a
process of its own, so that a busy machine is busy for both. Adapters are random, rank 8 on every linear
layer of MiniLM: what is measured does not depend on what they learned. `rps_ratio_*` is ours over the
better of the two ways the plain service has; `p50_overhead_ms` is what a client sees beyond the forward.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import Target, report
from benchmarks.server import ROOT, hub_server, process, ready, wait
from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.cli.quickstart.local_server import free_port
from hub.cli.screen.output import error_console
from hub.config import find_home
from hub.store.change import Deploy
from hub.store.importing import import_peft
from hub.store.store import Store

DEPLOYMENTS = 16
RANK = 8
LOADS = ((1, 1), (1, 16), (32, 1), (32, 16))  # clients, deployments
TARGETS: dict[str, Target] = {"rps_ratio_32x16": (">=", 3), "p50_overhead_ms": ("<=", 3)}
WORDS = ("the", "film", "story", "cast", "music", "ending", "is", "great", "dull", "funny", "slow", "not")
OURS, LOCKED, MIXED = "ours", "PEFT, set_adapter", "PEFT, adapter_names"
NAMES = {OURS: "", LOCKED: "set_adapter_", MIXED: "adapter_names_"}  # with the prefix of their figures


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to be asked: where, and with what for a text and a deployment."""

    name: str
    port: int
    request: Callable[[str, str], tuple[str, Any]]


def main() -> bool:
    """Measure every load on every contender and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each; their median counts")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-serve-")))
        base = Bases(find_home()).pull("minilm")
        _prepare(folder, base)
        ours = stack.enter_context(hub_server(folder / "home", "--slots", "32"))
        plain = stack.enter_context(_plain(base, folder / "adapters"))
        contenders = _contenders(ours.port, plain)
        measured = _measure(contenders, folder, options.seconds, options.rounds)
    return _report(measured)


def _contenders(ours: int, plain: int) -> list[Contender]:
    return [
        Contender(OURS, ours, lambda text, name: (f"/v1/deployments/{name}/predict", {"text": text})),
        Contender(
            "PEFT, set_adapter", plain, lambda text, name: ("/locked", {"text": text, "adapter": name})
        ),
        Contender(
            MIXED,
            plain,
            lambda text, name: ("/mixed", {"asks": [{"text": text, "adapter": name}]}),
        ),
    ]


def _measure(
    contenders: Sequence[Contender], folder: Path, seconds: float, rounds: int
) -> dict[tuple[str, int, int], dict[str, float]]:
    found: dict[tuple[str, int, int], list[dict[str, float]]] = {}
    for turn in range(rounds):
        for clients, deployments in LOADS:
            for contender in contenders:
                _say(f"round {turn + 1}: {contender.name}, {clients} clients, {deployments} deployments")
                figures = _load(contender, clients, deployments, folder, seconds)
                found.setdefault((contender.name, clients, deployments), []).append(figures)
    return {
        key: {name: statistics.median(one[name] for one in figures) for name in figures[0]}
        for key, figures in found.items()
    }


def _load(
    contender: Contender, clients: int, deployments: int, folder: Path, seconds: float
) -> dict[str, float]:
    chance = random.Random(clients * 100 + deployments)
    requests = [contender.request(_text(chance), f"mood-{number % deployments}") for number in range(320)]
    plan = {
        "host": "127.0.0.1",
        "port": contender.port,
        "clients": clients,
        "seconds": seconds,
        "requests": requests,
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
    figures: dict[str, float] = json.loads(done.stdout)
    if figures["failed"]:
        raise SystemExit(f"{contender.name} failed {figures['failed']:.0f} requests: no fair comparison.")
    return figures


def _report(measured: dict[tuple[str, int, int], dict[str, float]]) -> bool:
    rows = [
        [name, clients, deployments, *(f"{one[key]:.1f}" for key in ("rps", "p50_ms", "p99_ms"))]
        for (name, clients, deployments), one in sorted(measured.items(), key=lambda item: item[0][1:])
    ]
    figures: dict[str, float] = {}
    for clients, deployments in LOADS:
        load = f"{clients}x{deployments}"
        for name, short in NAMES.items():
            one = measured[name, clients, deployments]
            figures |= {f"{short}rps_{load}": one["rps"], f"{short}p50_ms_{load}": one["p50_ms"]}
            figures[f"{short}p99_ms_{load}"] = one["p99_ms"]
        best = max(figures[f"{short}rps_{load}"] for short in NAMES.values() if short)
        figures[f"rps_ratio_{load}"] = figures[f"rps_{load}"] / best if best else math.inf
    figures["p50_overhead_ms"] = measured[OURS, 1, 1]["overhead_ms"]
    return report(
        "serve", ("SERVER", "CLIENTS", "DEPLOYMENTS", "RPS", "P50 MS", "P99 MS"), rows, figures, TARGETS
    )


def _prepare(folder: Path, base: Base) -> None:
    """Make the adapters, and a home of ours that has them deployed."""
    from transformers.utils import logging

    from tests.support.tiny import tiny_adapter

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    store = Store(folder / "home")
    own = Bases(folder / "home").pull(str(base.path), base.name)
    for seed in range(DEPLOYMENTS):
        name = f"mood-{seed}"
        _say(f"adapter {name}")
        adapter = tiny_adapter(
            own, folder / "adapters" / name, kind=HeadKind.SEQUENCE, labels=("n", "p"), rank=RANK, seed=seed
        )
        version = import_peft(
            store, adapter, name, task="sentiment", head=HeadKind.SEQUENCE, base=own,
            labels=("negative", "positive"), max_length=64,
        )  # fmt: skip
        store.deploy(name, Deploy(version=version.ref, by="benchmark"))


@contextmanager
def _plain(base: Base, adapters: Path) -> Iterator[int]:
    port = free_port(0)
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    command = [bentoml, "serve", "benchmarks.plain_service:Plain", "--port", str(port)]
    extra = {
        "BENCH_BASE": str(base.path),
        "BENCH_ADAPTERS": str(adapters),
        "BENTOML_HOME": str(adapters.parent / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    with process(command, extra, adapters.parent / "plain.log") as alive:
        wait(alive, lambda: ready(f"http://127.0.0.1:{port}"))
        yield port


def _text(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(5, 30)))


def _say(text: str) -> None:
    error_console().print(f"[dim]{text}[/]")


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
