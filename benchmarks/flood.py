"""What a quiet tenant notices of a flood: its latency beside another one's many clients, and alone.

`python -m benchmarks.flood`. The quiet tenant sends one short text after another, with pauses; the flood
comes from CLIENTS clients that never pause. They differ by their key, or by their deployment. Each round
measures the quiet tenant alone and then under the flood, so that a busy machine is busy for both; the median
of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import Target, report
from benchmarks.serve.measure import text
from benchmarks.serve.prepare import prepare, say
from benchmarks.server import ROOT, HubServer, hub_server
from hub.bases.cache import Bases
from hub.config import find_home
from hub.keys import Scopes
from hub.store.catalog.keys import ApiKeys
from hub.store.store import Store

CLIENTS = 64
PAUSE_S = 0.02
TARGETS: dict[str, Target] = {"p99_ratio_by_key": ("<=", 3), "p99_ratio_by_deployment": ("<=", 3)}
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A deployment, the key with which it is asked, and by how many clients."""

    deployment: str
    key: str
    clients: int = 1
    pause_s: float = PAUSE_S


def main() -> bool:
    """Measure both kinds of tenants and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each; their median counts")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-flood-")))
        prepare(folder, Bases(find_home()).pull("minilm"))
        with Store(folder / "home") as store:
            keys = ApiKeys(store.catalog)
            one, other = (keys.create(name, Scopes.parse(["infer"]))[1] for name in ("quiet", "flood"))
        server = stack.enter_context(hub_server(folder / "home", "--slots", "32"))
        kinds = {
            "key": (Tenant("mood-0", one), Tenant("mood-0", other, CLIENTS, 0.0)),
            "deployment": (Tenant("mood-0", one), Tenant("mood-1", one, CLIENTS, 0.0)),
        }
        measured: dict[tuple[str, str], list[Figures]] = {}
        for number in range(options.rounds):
            for kind, (quiet, flood) in kinds.items():
                say(f"round {number + 1}: by {kind}")
                for name, figures in _round(server, folder, quiet, flood, options.seconds).items():
                    measured.setdefault((kind, name), []).append(figures)
    return _report(measured)


def _round(
    server: HubServer, folder: Path, quiet: Tenant, flood: Tenant, seconds: float
) -> dict[str, Figures]:
    alone = _figures(_start(server, folder, quiet, seconds, "alone"))
    flooding = _start(server, folder, flood, seconds + 4, "flood")
    beside = _figures(_start(server, folder, quiet, seconds, "beside"))
    return {"quiet alone": alone, "quiet under the flood": beside, "the flood": _figures(flooding)}


def _start(
    server: HubServer, folder: Path, tenant: Tenant, seconds: float, name: str
) -> subprocess.Popen[str]:
    chance = random.Random(name)
    path = f"/v1/deployments/{tenant.deployment}/predict"
    plan: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "clients": tenant.clients,
        "seconds": seconds,
        "pause_s": tenant.pause_s,
        "headers": {"authorization": f"Bearer {tenant.key}"},
        "requests": [(path, {"text": text(chance)}) for _ in range(320)],
    }
    file = folder / f"{name}.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.load", str(file)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _figures(running: subprocess.Popen[str]) -> Figures:
    out, _ = running.communicate(timeout=300)
    figures: Figures = json.loads(out)
    if running.returncode or figures["failed"]:
        raise SystemExit(f"{figures['failed']:.0f} requests failed: no fair comparison.")
    return figures


def _report(measured: dict[tuple[str, str], list[Figures]]) -> bool:
    found = {
        key: {name: statistics.median(one[name] for one in rounds) for name in ("rps", "p50_ms", "p99_ms")}
        for key, rounds in measured.items()
    }
    rows = [[*key, *(f"{value:.1f}" for value in one.values())] for key, one in found.items()]
    figures: Figures = {}
    for kind in ("key", "deployment"):
        alone, beside = found[kind, "quiet alone"], found[kind, "quiet under the flood"]
        for name in ("p50", "p99"):
            figures[f"{name}_ms_alone_by_{kind}"] = alone[f"{name}_ms"]
            figures[f"{name}_ms_flooded_by_{kind}"] = beside[f"{name}_ms"]
            figures[f"{name}_ratio_by_{kind}"] = beside[f"{name}_ms"] / alone[f"{name}_ms"]
        figures[f"flood_rps_by_{kind}"] = found[kind, "the flood"]["rps"]
    return report("flood", ("TENANTS BY", "WHO", "RPS", "P50 MS", "P99 MS"), rows, figures, TARGETS)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
