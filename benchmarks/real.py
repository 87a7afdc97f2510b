"""Train on real data sets with the defaults, and say what comes of it: metric, interval, time.

    python -m benchmarks.real --data FOLDER [--only sst2,ag_news,xquad,multi30k,...]

FOLDER holds `sst2/{train,test}.csv` (columns text and label), `ag_news/{train,test}.jsonl` (text and label),
`xquad_en/{train,test}.json` (SQuAD's format) and `multi30k/en-fr.{train,val}.tsv.gz` (columns en and fr).
Each check is one `hub train` in an empty state folder that borrows the pulled bases, timed from its start
to its end. Held-out rows are those of the test files; checkpoints are chosen by rows of the training files.

    sst2, ag_news            LoRA, the defaults
    sst2-full, ag_news-full  all of the base (`method.type: full`), the other defaults
    sst2-best, ag_news-best  `preset: best`
    xquad                    the recipe of adapters/reading-qa
    multi30k                 SmolLM2-135M on the first ROWS pairs of en-fr, measured on the first HELD_OUT
    multi30k-base            the same with an adapter that is zero: the bare base
    captions                 vectors: the French caption of an English one, on all pairs of multi30k
    questions                vectors: the paragraph of XQuAD that answers a question

The baseline is that of the recipe's task: the most common label or, for vectors, the bare base.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.report import Target, report

ROWS, HELD_OUT = 8000, 200
TARGETS: dict[str, Target] = {
    "sst2": (">=", 0.88),
    "ag_news": (">=", 0.88),
    "sst2_full_over_lora": ("<=", 0.01),
    "ag_news_full_over_lora": ("<=", 0.01),
    "multi30k": (">=", 0.45),
    "captions": (">=", 0.9),
}

_HUB = "from hub.cli.main import main; main()"
SST2 = "task: sentiment\nbase: minilm\ndata: {{source: {data}/sst2/train.csv, eval: {data}/sst2/test.csv}}\n"
AG_NEWS = (
    "task: classification\nbase: minilm\n"
    "data: {{source: {data}/ag_news/train.jsonl, eval: {data}/ag_news/test.jsonl}}\n"
)
XQUAD = (
    "task: qa\nbase: minilm\n"
    "data: {{source: {data}/xquad_en/train.json, eval: {data}/xquad_en/test.json, format: squad}}\n"
    "options: {{no_answer: false}}\nmax_length: 384\nmethod: {{rank: 16}}\n"
    "train: {{epochs: 6, batch_size: 16}}\n"
)
MULTI30K = (
    "task: translation\nbase: smollm2-135m\npreset: fast\nmethod: {{rank: 16}}\n"
    "data: {{source: {scratch}/train.tsv, eval: {scratch}/val.tsv, columns: {{source: en, target: fr}}}}\n"
    "options: {{source_language: English, target_language: French}}\n"
    "train: {{batch_size: 16, learning_rate: 0.0015}}\n"
)
# One step at this rate leaves B at zero once it is rounded to fp16.
MULTI30K_BASE = MULTI30K.replace("learning_rate: 0.0015", "learning_rate: 1.0e-12, max_steps: 1")
CAPTIONS = (
    "task: similarity\nbase: minilm\nmax_length: 64\n"
    "data: {{source: {data}/multi30k/en-fr.train.tsv.gz, eval: {data}/multi30k/en-fr.val.tsv.gz, "
    "columns: {{query: en, good: fr}}}}\n"
    "train: {{epochs: 5, batch_size: 128}}\nevaluate: {{int8: false}}\n"
)
QUESTIONS = (
    "task: similarity\nbase: minilm\nmax_length: 256\n"
    "data: {{source: {data}/xquad_en/train.json, eval: {data}/xquad_en/test.json, format: squad, "
    "columns: {{query: question, good: context}}}}\n"
    "train: {{epochs: 3}}\nevaluate: {{int8: false}}\n"
)
FULL, BEST = "method: {{type: full}}\n", "preset: best\n"
CHECKS = {
    "sst2": SST2,
    "sst2-full": SST2 + FULL,
    "sst2-best": SST2 + BEST,
    "ag_news": AG_NEWS,
    "ag_news-full": AG_NEWS + FULL,
    "ag_news-best": AG_NEWS + BEST,
    "xquad": XQUAD,
    "multi30k": MULTI30K,
    "multi30k-base": MULTI30K_BASE,
    "captions": CAPTIONS,
    "questions": QUESTIONS,
}


def main() -> None:
    """Run the checks and report."""
    arguments = _arguments()
    rows, figures = [], {}
    for check in arguments.only:
        answer, seconds = _train(check, arguments.data.resolve())
        for metric, value in answer["metrics"].items():
            low, high = _interval(answer, metric)
            shown = "" if low is None else f"{low:.4f} to {high:.4f}"
            baseline = answer["evaluation"]["baseline"].get(metric)
            before = "" if baseline is None else f"{baseline:.4f}"
            rows.append((check, metric, f"{value:.4f}", shown, before, answer["steps"], f"{seconds:.0f}"))
        figures[check] = answer["metrics"][answer["metric"]]
    for name in ("sst2", "ag_news"):
        if name in figures and f"{name}-full" in figures:
            figures[f"{name}_full_over_lora"] = figures[f"{name}-full"] - figures[name]
    headers = ("CHECK", "METRIC", "VALUE", "95 % INTERVAL", "BASELINE", "STEPS", "S")
    report("real", headers, rows, figures, TARGETS)


def _train(check: str, data: Path) -> tuple[dict[str, Any], float]:
    from hub.bases.cache import Bases
    from hub.config import find_home

    bases = Bases(find_home())
    bases.pull("smollm2-135m" if check.startswith("multi30k") else "minilm")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if check.startswith("multi30k"):
            _cut(data / "multi30k" / "en-fr.train.tsv.gz", scratch / "train.tsv", ROWS)
            _cut(data / "multi30k" / "en-fr.val.tsv.gz", scratch / "val.tsv", HELD_OUT)
        recipe = scratch / "recipe.yaml"
        recipe.write_text(
            f"name: {check.replace('_', '-')}\n" + CHECKS[check].format(data=data, scratch=scratch)
        )
        home = scratch / "home"
        home.mkdir()
        (home / "bases").symlink_to(find_home() / "bases")
        command = [sys.executable, "-c", _HUB, "train", str(recipe), "--json"]
        environment = {**os.environ, "HUB_HOME": str(home)}
        started = perf_counter()
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout), perf_counter() - started


def _cut(source: Path, target: Path, rows: int) -> None:
    """Write the first rows of a table, below its header."""
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        target.write_text("".join(itertools.islice(lines, rows + 1)), encoding="utf-8")


def _interval(answer: dict[str, Any], metric: str) -> tuple[float | None, float | None]:
    found = answer["evaluation"]["intervals"].get(metric) or {}
    return found.get("low"), found.get("high")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Folder with the data sets.")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CHECKS), help="Which.")
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - set(CHECKS):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    main()
