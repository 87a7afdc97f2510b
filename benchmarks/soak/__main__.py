"""Memory growth of each engine under steady, varied load.

    python -m benchmarks.soak [--minutes N] [--engines NAME ...] [--base minilm|tiny]

Each engine runs in a process of its own for N minutes (30): ten deployments on eight slots, calls of 1 to 32
texts of mixed lengths at a steady rate, and a move between two versions every five seconds. Growth is the
Theil-Sen slope of the process's unshared memory after the warm-up, which is ten minutes, or a third of the
time if that is less. The heap holds free pages until they are returned to the system, a varying number;
`floor_mb_per_hour` is the slope of the lowest sample of every 15 seconds, with its 90 % confidence interval.
At the end an adapter of rank 256 is deployed and taken away: `rank_kept_mb` is how much of the memory it took
the process still holds. Engines that this machine cannot run (bf16 without instructions for it, OpenVINO
without its package) are left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from benchmarks.report import Target, report
from benchmarks.soak.growth import Sample, growth, level_mb, lows
from benchmarks.soak.worker import DEPLOYMENTS, LARGE, VERSIONS, Order, name_of
from hub.api import HeadKind
from hub.bases.cache import Bases
from hub.cli.screen.output import error_console
from hub.cli.threads import wait_asleep
from hub.config import find_home
from hub.store.change import Deploy
from hub.store.importing import import_peft
from hub.store.store import Store

FIGURE, FLOOR, KEPT = "growth_mb_per_hour", "floor_mb_per_hour", "rank_kept_mb"
MOST_GROWTH = 10.0
MOST_KEPT = 50.0  # MB, of some 400
LARGE_RANK = 256
WARM_UP_S = 600.0
ENGINES = ("torch", "torch-bf16", "onnx", "onnx-int8", "openvino-bf16", "auto")
TARGETS: dict[str, Target] = {
    name: ("<=", MOST_GROWTH) for name in (FIGURE, *(f"{FIGURE}_{engine}" for engine in ENGINES))
} | {f"{KEPT}_{engine}": ("<=", MOST_KEPT) for engine in ENGINES}


def main() -> bool:
    """Run each engine and report."""
    options = _arguments()
    wait_asleep()  # as the commands that serve do
    seconds = options.minutes * 60
    warm_up_s = min(WARM_UP_S, seconds / 3)
    rows: list[tuple[object, ...]] = []
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-soak-") as folder:
        home = Path(folder) / "home"
        _prepare(home, options.base)
        for engine in _runnable(options.engines):
            _say(f"{engine}: {options.minutes:g} minutes")
            order = Order(
                str(home), engine, seconds, seconds / 600, clients=3, calls_per_s=options.rate, most_words=110
            )
            samples, counts = _run(order)
            if options.samples:
                _keep(options.samples / f"{engine}.json", samples)
            found = _figures(samples, counts, warm_up_s)
            figures |= {f"{name}_{engine}": value for name, value in found.items()}
            sizes = (samples[0].rss, samples[-1].rss, found[FIGURE], found[FLOOR], found[KEPT])
            rows.append((engine, counts["calls"], counts["rows"], *(f"{size:.1f}" for size in sizes)))
    figures[FIGURE] = max(figures[key] for key in figures if key.startswith(FIGURE))
    headers = (
        "ENGINE",
        "CALLS",
        "ROWS",
        "RSS MB AT FIRST",
        "AT THE END",
        "GROWTH MB/H",
        "FLOOR MB/H",
        "KEPT MB",
    )
    return report("soak", headers, rows, figures, TARGETS)


def _figures(samples: Sequence[Sample], counts: Mapping[str, float], warm_up_s: float) -> dict[str, float]:
    floor = growth(lows(samples), warm_up_s)
    return {
        FIGURE: growth(samples, warm_up_s).rate,
        FLOOR: floor.rate,
        "floor_low": floor.low,
        "floor_high": floor.high,
        "rss_mb": level_mb(samples, warm_up_s),
        "rank_took_mb": counts["rank_took_mb"],
        KEPT: counts[KEPT],
    }


def _run(order: Order) -> tuple[list[Sample], dict[str, float]]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak.worker"],
        input=json.dumps(asdict(order)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    *lines, counts = map(json.loads, done.stdout.splitlines())
    return [Sample(**line) for line in lines], counts


def _runnable(engines: Sequence[str]) -> list[str]:
    import torch

    from hub.engine.torch.loading import computes_in_bf16

    bf16, openvino = computes_in_bf16(torch.device("cpu")), find_spec("openvino") is not None
    return [
        name
        for name in engines
        if (bf16 or "bf16" not in name) and (openvino or not name.startswith("openvino"))
    ]


def _prepare(home: Path, base_name: str) -> None:
    """Make a home with two versions of each of ten adapters, deployed at the first."""
    from transformers.utils import logging

    from tests.support.tiny import tiny_adapter
    from tests.support.tiny_bases import tiny_encoder

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    store = Store(home)
    tiny = base_name == "tiny"
    source = tiny_encoder(home.parent / "tiny") if tiny else Bases(find_home()).pull(base_name)
    base = Bases(home).pull(str(source.path), base_name)
    first = {
        rank: tiny_adapter(
            base, home.parent / f"rank-{rank}", kind=HeadKind.SEQUENCE, labels=("n", "p"), rank=rank
        )
        for rank in (8, LARGE_RANK)
    }
    versions = [(name_of(deployment), 8) for deployment in range(DEPLOYMENTS) for _ in range(VERSIONS)]
    for seed, (name, rank) in enumerate([*versions, (LARGE, LARGE_RANK)]):
        folder = _shuffled(first[rank], home.parent / "adapters" / str(seed), seed)
        import_peft(
            store,
            folder,
            name,
            task="sentiment",
            head=HeadKind.SEQUENCE,
            base=base,
            labels=("negative", "positive"),
        )
    for deployment in range(DEPLOYMENTS):
        store.deploy(name_of(deployment), Deploy(version=f"{name_of(deployment)}@1", by="benchmark"))


def _shuffled(adapter: Path, folder: Path, seed: int) -> Path:
    """Write another adapter of the same shapes."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    random = np.random.default_rng(seed)
    shutil.copytree(adapter, folder)
    weights = folder / "adapter_model.safetensors"
    save_file({name: random.permuted(value, axis=-1) for name, value in load_file(weights).items()}, weights)
    return folder


def _keep(path: Path, samples: Sequence[Sample]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(sample) for sample in samples]), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="Time for each engine.")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="What to run.")
    parser.add_argument("--base", choices=("minilm", "tiny"), default="minilm", help="The base to run on.")
    parser.add_argument("--rate", type=float, default=15.0, help="Calls a second.")
    parser.add_argument("--samples", type=Path, help="Folder to keep each engine's samples in.")
    return parser.parse_args()


def _say(text: str) -> None:
    error_console().print(f"[dim]{text}[/]")


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
