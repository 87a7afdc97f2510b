"""Time one training step of a decoder: whole rows, answers alone, a shared prefix, and packed rows, in turns.

    python -m benchmarks.decoder_step --data FOLDER [--rounds N]

FOLDER holds multi30k/en-fr.train.tsv.gz. A step is the forward and backward pass of smollm2-135m with LoRA on
all linear layers, in the precision of `hub train`, for a batch of pairs of similar length:

    whole     scores of every token over the whole vocabulary
    answers   scores only where they predict an answer token
    shared    as hub train does it: besides, the prompt's common prefix runs once per batch
    packed    answers, with rows one after another in sequences of up to PACKED tokens, under a mask that
              keeps them apart

Times are processor times, medians over rounds in which every way takes its turn.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from benchmarks.report import Target, report

ROWS, BATCH, PACKED = 4096, 32, 512
OPTIONS = {"source_language": "English", "target_language": "French"}
TARGETS: dict[str, Target] = {"shared_over_whole": (">=", 1.5)}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Folder with the data sets.")
    parser.add_argument("--rounds", type=int, default=5, help="Steps of each way.")
    arguments = parser.parse_args()

    import torch

    from hub.bases.cache import Bases
    from hub.config import find_home
    from hub.engine.tokenizer import load_tokenizer
    from hub.training.arguments import pick_dtype
    from hub.training.fit.answers_only import answers_only
    from hub.training.fit.batches import LengthGroups, collator
    from hub.training.fit.fused_kernels import fused

    base = Bases(find_home()).pull("smollm2-135m")
    rows = _rows(arguments.data, load_tokenizer(base), base.model_type)
    lengths = [len(row["input_ids"]) for row in rows]
    order = list(LengthGroups(lengths, BATCH, seed=13))
    batches = [[rows[index] for index in order[at : at + BATCH]] for at in range(0, len(order), BATCH)]
    model, collate = _model(base), collator(0)
    dtype = torch.bfloat16 if pick_dtype("auto") == "bf16" else None

    def as_is(batch: Sequence[Any]) -> Any:
        return model(**collate(batch)).loss

    def only(share: bool) -> AbstractContextManager[Any]:
        return answers_only(model, collate(rows[:2]), share=share)

    ways: dict[str, tuple[Callable[[Sequence[Any]], Any], Callable[[], AbstractContextManager[Any]], str]] = {
        "whole": (as_is, nullcontext, "eager"),
        "answers": (as_is, lambda: only(False), "eager"),
        "shared": (as_is, lambda: only(True), "eager"),
        "packed": (lambda batch: _packed_loss(model, batch), nullcontext, "sdpa"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for batch in batches[: arguments.rounds + 1]:  # the first round warms up
        for name, (loss, context, attention) in ways.items():
            with ExitStack() as during:
                model.get_base_model().set_attn_implementation(attention)
                during.enter_context(context())
                during.enter_context(fused(model, dtype))
                during.enter_context(torch.autocast("cpu", enabled=dtype is not None))
                model.zero_grad()
                started = process_time()
                loss(batch).backward()
                seconds[name].append(process_time() - started)
    medians = {name: median(times[1:]) for name, times in seconds.items()}
    figures = {f"{name}_pairs_per_cpu_second": BATCH / one for name, one in medians.items()}
    figures |= {
        f"{name}_over_whole": medians["whole"] / medians[name] for name in ("answers", "shared", "packed")
    }
    figures |= {
        "padding_grouped": _padding(lengths, order),
        "padding_shuffled": _padding(lengths, range(ROWS)),
    }
    table = [(name, f"{one:.2f}", f"{BATCH / one:.1f}") for name, one in medians.items()]
    report("decoder_step", ("WAY", "CPU S PER STEP", "PAIRS PER CPU S"), table, figures, TARGETS)


def _rows(data: Path, tokenizer: Any, model_type: str) -> list[Any]:
    from hub.api import AdapterInfo
    from hub.registry.host import Registry

    task = Registry.load().task("translation").task
    info = AdapterInfo("bench", 0, (), OPTIONS, task.max_length)
    info = replace(info, settings=task.settle(info, tokenizer, model_type))
    with gzip.open(data / "multi30k" / "en-fr.train.tsv.gz", "rt", encoding="utf-8") as lines:
        pairs = itertools.islice(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), ROWS)
        examples = [{"source": pair["en"], "target": pair["fr"]} for pair in pairs]
    return [row for example in examples for row in task.features(example, tokenizer, info)]


def _model(base: Any) -> Any:
    from hub.api import HeadKind
    from hub.recipe.recipe import Recipe
    from hub.training.fit.model import add_adapter, load_base

    recipe = Recipe.model_validate({"name": "bench", "task": "translation", "data": {"source": "pairs.tsv"}})
    return add_adapter(load_base(base, HeadKind.GENERATE, 0, 0.0), recipe, HeadKind.GENERATE).train()


def _packed_loss(model: Any, batch: Sequence[Any]) -> Any:
    """Return the mean loss of the answers in rows that are packed into sequences [P, T]."""
    import torch
    from torch.nn import functional

    packs = list(_packs(batch))
    size = max(sum(len(row["input_ids"]) for row in pack) for pack in packs)
    ids, places, owners, labels = (torch.full((len(packs), size), fill) for fill in (0, 0, -1, -100))
    for number, pack in enumerate(packs):
        at = 0
        for owner, row in enumerate(pack):
            end = at + len(row["input_ids"])
            ids[number, at:end] = torch.tensor(row["input_ids"])
            places[number, at:end] = torch.arange(end - at)
            owners[number, at:end] = owner
            labels[number, at : end - 1] = torch.tensor(row["labels"][1:])
            at = end
    own = owners[:, :, None] == owners[:, None, :]
    mask = (own & torch.ones(size, size, dtype=torch.bool).tril())[:, None]  # [P, 1, T, T]
    base = model.get_base_model()
    hidden = base.model(
        input_ids=ids, position_ids=places, attention_mask=mask, use_cache=False
    ).last_hidden_state
    answers = labels != -100
    return functional.cross_entropy(base.lm_head(hidden[answers]).float(), labels[answers])


def _packs(batch: Sequence[Any]) -> Iterator[list[Any]]:
    pack: list[Any] = []
    for row in batch:
        if pack and sum(len(one["input_ids"]) for one in (*pack, row)) > PACKED:
            yield pack
            pack = []
        pack.append(row)
    yield pack


def _padding(lengths: Sequence[int], order: Sequence[int]) -> float:
    """Return the share of padding in batches of rows in this order."""
    batches = [[lengths[index] for index in order[at : at + BATCH]] for at in range(0, len(order), BATCH)]
    return 1 - sum(lengths) / sum(max(batch) * len(batch) for batch in batches)


if __name__ == "__main__":
    main()
