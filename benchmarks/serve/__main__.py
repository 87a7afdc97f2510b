"""Requests a second and latency over HTTP, ours beside plain PEFT in BentoML and in FastAPI.

    python -m benchmarks.serve [--quick] [--engine NAME] [--busy-cores N] [--soak-minutes N]

The servers run at once and are asked in turns by a load generator in a process of its own, so that a busy
machine is busy for all. Adapters are random, rank 8 on every linear layer of MiniLM: what is measured does
not depend on what they learned. With `--busy-cores`, other processes keep so many cores busy meanwhile.

- `rps_ratio_*` is ours over the best of the plain servers, for that many clients and deployments.
- `overhead_p50_ms` is the time that one client waits beyond the forward of its request.
- `p99_over_p50` is the ratio of latencies under an open load of 70 % of the highest rate that ours reached.
- `family_*` are rate and median latency by each family of routes; `family_*_share` is the rate relative to
  the native route for the same head.
- `soak_mb_per_hour` is the growth of the server's unshared memory in the minutes of `--soak-minutes`, and
  `soak_mb` the median of its resident memory.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.report import Target, report
from benchmarks.serve.contenders import (
    FAMILIES,
    NAMES,
    OURS,
    Contender,
    ours,
    plain_bento,
    plain_fastapi,
    rivals,
)
from benchmarks.serve.measure import Figures, Load, load, measured, sampled
from benchmarks.serve.prepare import prepare, say
from benchmarks.server import hub_server
from benchmarks.soak.growth import growth, level_mb
from hub.bases.cache import Bases
from hub.config import find_home

CLIENTS, DEPLOYMENTS = (1, 8, 32, 128), (1, 32, 256)
BUSY: Load = (32, 32)
FEW: Load = (32, 16)
QUICK: Sequence[Load] = ((1, 1), FEW, BUSY)
FULL: Sequence[Load] = (*((clients, many) for many in DEPLOYMENTS for clients in CLIENTS), FEW)
SHARE = 0.7  # of the highest rate, of the open load
TARGETS: dict[str, Target] = {
    "rps_ratio_32x16": (">=", 3.0),
    "rps_ratio_32x32": (">=", 2.5),
    "overhead_p50_ms": ("<=", 1.0),
    "p99_over_p50": ("<=", 4.0),
    "soak_mb_per_hour": ("<=", 10.0),
}
HEADERS = ("SERVER", "CLIENTS", "DEPLOYMENTS", "RPS", "P50 MS", "P99 MS")
WARM_UP = 1 / 3  # of the soak


def main() -> bool:
    """Measure every load on every contender and report."""
    options = _arguments()
    loads = QUICK if options.quick else FULL
    seconds, rounds = (1.5, 1) if options.quick else (options.seconds, options.rounds)
    most = max(many for _, many in loads)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-serve-")))
        base = Bases(find_home()).pull("minilm")
        prepare(folder, base, most)
        flags = ("--slots", str(most + 1), "--engine", options.engine)
        server = stack.enter_context(hub_server(folder / "home", *flags))
        bento = stack.enter_context(plain_bento(base, folder / "adapters"))
        fastapi = stack.enter_context(plain_fastapi(base, folder / "adapters"))
        contenders = [ours(server.port), *rivals(bento, fastapi)]
        for _ in range(options.busy_cores):
            stack.enter_context(_busy())
        found = measured(contenders, loads, folder, seconds, rounds)
        figures = _compared(found, loads)
        figures |= _families(server.port, folder, seconds, rounds)
        figures |= _open(contenders[0], found[OURS, *BUSY]["rps"], folder, seconds * 2)
        if options.soak_minutes:
            figures |= _soak(contenders[0], folder, options.soak_minutes * 60)
    rows = [
        [name, clients, many, *(f"{one[key]:.1f}" for key in ("rps", "p50_ms", "p99_ms"))]
        for (name, clients, many), one in sorted(found.items(), key=lambda item: item[0][1:])
    ]
    return report("serve", HEADERS, rows, figures, TARGETS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each; their median counts")
    parser.add_argument("--quick", action="store_true", help="two loads, once, for a second and a half")
    parser.add_argument("--engine", default="auto", help="as serve.engine")
    parser.add_argument("--busy-cores", type=int, default=0, help="cores that something else keeps busy")
    parser.add_argument("--soak-minutes", type=float, default=0.0, help="watch the memory for so long")
    return parser.parse_args()


@contextmanager
def _busy() -> Iterator[None]:
    """Run a process that never waits."""
    running = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        running.kill()
        running.wait()


def _compared(found: Mapping[tuple[str, int, int], Figures], loads: Sequence[Load]) -> Figures:
    figures: Figures = {}
    for clients, many in loads:
        at = f"{clients}x{many}"
        for name, prefix in NAMES.items():
            one = found[name, clients, many]
            figures |= {f"{prefix}{key}_{at}": one[key] for key in ("rps", "p50_ms", "p99_ms")}
        best = max(figures[f"{prefix}rps_{at}"] for prefix in NAMES.values() if prefix)
        figures[f"rps_ratio_{at}"] = figures[f"rps_{at}"] / best if best else math.inf
    figures["overhead_p50_ms"] = found[OURS, 1, 1]["overhead_ms"]
    return figures


def _families(port: int, folder: Path, seconds: float, rounds: int) -> Figures:
    """Ask our server on each family of routes."""
    contenders = [Contender(name, port, request) for name, request in FAMILIES.items()]
    found = measured(contenders, [BUSY], folder, seconds, rounds)
    figures: Figures = {}
    for name in FAMILIES:
        one = found[name, *BUSY]
        native = found["native_embed" if name.endswith("_embed") else "native", *BUSY]
        figures |= {f"family_{name}_rps": one["rps"], f"family_{name}_p50_ms": one["p50_ms"]}
        figures[f"family_{name}_share"] = one["rps"] / native["rps"] if native["rps"] else 0.0
    return figures


def _open(contender: Contender, most: float, folder: Path, seconds: float) -> Figures:
    """Ask at a share of the highest rate, however long the answers take."""
    rate = most * SHARE
    say(f"open load: {rate:.0f} requests a second")
    found = load(contender, *BUSY, folder, seconds, rate)
    ratio = found["p99_ms"] / found["p50_ms"] if found["p50_ms"] else math.inf
    return {
        "open_rps": found["rps"],
        "open_p50_ms": found["p50_ms"],
        "open_p99_ms": found["p99_ms"],
        "p99_over_p50": ratio,
    }


def _soak(contender: Contender, folder: Path, seconds: float) -> Figures:
    say(f"soak: {seconds / 60:g} minutes")
    supervisor = json.loads((folder / "home" / "server.json").read_text(encoding="utf-8"))["pid"]
    with sampled(supervisor) as samples:
        load(contender, *BUSY, folder, seconds)
    rate, _, _ = growth(samples, seconds * WARM_UP)
    return {"soak_mb_per_hour": rate, "soak_mb": level_mb(samples, seconds * WARM_UP)}


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
