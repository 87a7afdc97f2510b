"""Rows a second of bulk jobs: on this machine, on one and two Ray workers, beside a transformers pipeline.

    python -m benchmarks.bulk --data FOLDER [--rows N] [--without-ray]

FOLDER holds `sst2/train.csv` and `ag_news/train.jsonl`; their texts, mixed, make a Parquet file. The model is
MiniLM with a random adapter. Each job is one `hub predict --data` in a process of its own: SECONDS is all of
it, the start included, and ROWS/S counts from the first rows on. The pipeline reads the same file, its
adapter merged, with the fastest of BATCHES and of fp32 and bf16, which are tried on the first TRIED rows; its
start is not counted. All ways take their turns, `--rounds` times, and the best of each counts.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.report import Target, report
from benchmarks.serve.prepare import prepare, say
from hub.bases.cache import Bases
from hub.config import find_home

TARGETS: dict[str, Target] = {"local_vs_pipeline": (">=", 3)}
DEPLOYMENTS = 4
MAX_LENGTH = 64  # tokens; that of the adapters
DTYPES = ("float32", "bfloat16")
BATCHES = (1, 8, 64)
TRIED = 384
WARM = 400  # rows of a job that is not counted
GROUP = 1000  # rows of a row group
PARTS = 4  # of the file, so that two workers share it

_HUB = "from hub.cli.main import main; main()"


def main() -> bool:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Folder with sst2/ and ag_news/.")
    parser.add_argument("--rows", type=int, default=16_000, help="Rows of the jobs.")
    parser.add_argument("--rounds", type=int, default=2, help="Turns of each way.")
    parser.add_argument("--without-ray", action="store_true", help="Leave out the cluster.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-bulk-") as name:
        folder = Path(name)
        prepare(folder, Bases(find_home()).pull("minilm"), DEPLOYMENTS)
        texts = list(itertools.islice(_texts(options.data), options.rows))
        for place, some in (("in", texts), ("warm", texts[:WARM])):
            (folder / place).mkdir()
            for part in range(PARTS):
                table = pa.table({"text": some[part::PARTS]})
                pq.write_table(table, folder / place / f"{part}.parquet", row_group_size=GROUP)
        return _measure(folder, texts, options)


def _measure(folder: Path, texts: list[str], options: argparse.Namespace) -> bool:
    names = [f"mood-{number}" for number in range(DEPLOYMENTS)]
    say("jobs that nobody counts: graphs are exported and backbones timed, for all threads and for one")
    _job(folder, "warmed", names[0], data="warm")
    ways = {
        "local": (names[0], ["--on", "local"]),
        f"local, {DEPLOYMENTS} deployments": (",".join(names), []),
    }
    if not options.without_ray:
        _job(folder, "warmed-ray", names[0], "--on", "ray", "--workers", "2", data="warm")
        for workers in (1, 2):
            ways[f"ray, {workers} workers"] = names[0], ["--on", "ray", "--workers", str(workers)]
    pipes = {dtype: _fastest(folder, texts[:TRIED], dtype) for dtype in DTYPES}
    some = texts[: len(texts) // PARTS]
    rates = dict.fromkeys(DTYPES, 0.0)
    best = dict.fromkeys(ways, (0.0, 0.0))
    for turn in range(options.rounds):
        for dtype, (pipe, batch) in pipes.items():
            say(f"round {turn + 1}: pipeline, {dtype}")
            rates[dtype] = max(rates[dtype], _rate(pipe, some, batch))
        for number, (way, (deployments, extra)) in enumerate(ways.items()):
            say(f"round {turn + 1}: {way}")
            best[way] = max(best[way], _job(folder, f"out-{turn}-{number}", deployments, *extra))
    rows: list[tuple[object, ...]] = [
        (f"pipeline, {dtype}, batches of {batch}", f"{rates[dtype]:.0f}", "")
        for dtype, (_, batch) in pipes.items()
    ]
    figures = {f"pipeline_{dtype}_rows_per_s": rate for dtype, rate in rates.items()}
    pipeline = max(rates.values())
    for way, (rate, seconds) in best.items():
        key = way.replace(", ", "_").replace(" ", "_")
        figures |= {f"{key}_rows_per_s": rate, f"{key}_s": seconds}
        rows.append((way, f"{rate:.0f}", f"{seconds:.0f}"))
    figures["local_vs_pipeline"] = figures["local_rows_per_s"] / pipeline
    figures["local_vs_pipeline_float32"] = figures["local_rows_per_s"] / rates["float32"]
    figures["answers_vs_pipeline"] = (
        figures[f"local_{DEPLOYMENTS}_deployments_rows_per_s"] * DEPLOYMENTS / pipeline
    )
    if "ray_2_workers_rows_per_s" in figures:
        figures["two_workers_vs_one"] = (
            figures["ray_2_workers_rows_per_s"] / figures["ray_1_workers_rows_per_s"]
        )
    return report("bulk", ("WAY", "ROWS/S", "SECONDS"), rows, figures, TARGETS)


def _job(folder: Path, out: str, deployments: str, *extra: str, data: str = "in") -> tuple[float, float]:
    """Run a job; return its rows a second and the seconds that it took."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _HUB, "predict", deployments, "--data", str(folder / data), "--out",
         str(folder / out), *extra, "--json"],
        env=os.environ | {"HUB_HOME": str(folder / "home")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return json.loads(done.stdout)["rows_per_s"], time.perf_counter() - began


def _fastest(folder: Path, texts: list[str], dtype: str) -> tuple[Any, int]:
    """Return a pipeline and the size of batches with which it is fastest."""
    pipe, tried = _pipe(folder, dtype), dict[int, float]()
    for batch in BATCHES:
        _rate(pipe, texts[:64], batch)
        tried[batch] = _rate(pipe, texts, batch)
        say(f"pipeline, {dtype}, batches of {batch}: {tried[batch]:.0f} rows/s")
    return pipe, max(tried, key=lambda one: tried[one])


def _pipe(folder: Path, dtype: str) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    base, kind = Bases(folder / "home").get("minilm").path, getattr(torch, dtype)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, dtype=kind)
    model = PeftModel.from_pretrained(plain, folder / "adapters" / "mood-0").merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(base)
    return pipeline("text-classification", model=model.to(kind), tokenizer=tokenizer)


def _rate(pipe: Any, texts: list[str], batch: int) -> float:
    """Call a pipeline as its documentation says, on a generator of texts."""
    began = time.perf_counter()
    stream = (text for text in texts)
    answers = pipe(stream, batch_size=batch, truncation=True, max_length=MAX_LENGTH, top_k=None)
    count = sum(1 for _ in answers)
    assert count == len(texts)
    return count / (time.perf_counter() - began)


def _texts(data: Path) -> Iterator[str]:
    """Yield the texts of both sets in an order that is always the same, again and again."""
    with (data / "sst2" / "train.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with (data / "ag_news" / "train.jsonl").open(encoding="utf-8") as file:
        texts += [json.loads(line)["text"] for line in itertools.islice(file, len(texts))]
    random.Random(1).shuffle(texts)
    return itertools.cycle(texts)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
