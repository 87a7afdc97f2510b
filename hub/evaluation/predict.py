# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Runs rows through a model in memory, in batches of similar length: raw scores or generated text."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hub.api import HeadKind, Output, Pooling, Row, Tokenizer
from hub.engine.batch import by_ends, pad_rows
from hub.engine.torch.generate import output_of
from hub.engine.torch.heads import SHIFTING, pool_rows
from hub.engine.torch.loading import end_tokens, pad_token
from hub.progress import Progress, silent

__all__ = ["BeforeBatch", "batches", "forward_rows"]

MAX_BATCH_TOKENS = 8192
MAX_BATCH_ROWS = 64

BeforeBatch = Callable[[list[int]], None]
"""Called with the row indices of the next batch."""


def forward_rows(
    model: Any,
    tokenizer: Tokenizer,
    head: HeadKind,
    rows: Sequence[Row],
    progress: Progress = silent,
    before_batch: BeforeBatch | None = None,
) -> list[Output]:
    """Run rows in batches of similar length; the outputs are in the order of the rows."""
    outputs: list[Output | None] = [None] * len(rows)
    training, done = model.training, 0
    model.eval()
    try:
        with torch.inference_mode():
            for indices in batches(rows):
                if before_batch:
                    before_batch(indices)
                batch = [rows[index] for index in indices]
                if head is HeadKind.GENERATE:
                    found = _generate(model, tokenizer, batch)
                elif head is HeadKind.SEQUENCE and model.config.is_encoder_decoder:
                    found = _score_by_ends(model, head, batch)
                else:
                    found = _score(model, head, batch)
                for index, output in zip(indices, found, strict=True):
                    outputs[index] = output
                done += len(indices)
                progress("evaluate", done, len(rows))
    finally:
        model.train(training)
    return [output for output in outputs if output is not None]


def batches(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Yield the indices of rows in batches of similar length, the longest first."""
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index].input_ids))
    while order:
        longest = len(rows[order[0]].input_ids)
        size = max(1, min(MAX_BATCH_ROWS, MAX_BATCH_TOKENS // max(1, longest)))
        yield order[:size]
        del order[:size]


def _score_by_ends(model: Any, head: HeadKind, rows: Sequence[Row]) -> list[Output]:
    found: dict[int, Output] = {}
    for places in by_ends([list(row.input_ids) for row in rows], model.config.eos_token_id):
        found |= zip(places, _score(model, head, [rows[place] for place in places]), strict=True)
    return [found[place] for place in range(len(rows))]


def _score(model: Any, head: HeadKind, rows: Sequence[Row]) -> list[Output]:
    with _padding(model.config, rows) as pad:
        inputs = _padded(model, pad, rows, left=False)
        mask = inputs["attention_mask"]
        if images := [row.pixel_values for row in rows if row.pixel_values is not None]:
            inputs = {"pixel_values": torch.from_numpy(np.stack(images)).to(model.device)}
        if model.config.is_encoder_decoder and head not in SHIFTING:
            inputs["decoder_input_ids"] = inputs["input_ids"]
        result = model(**inputs)
    array = _values(result, mask, rows).float().cpu().numpy()
    if array.ndim == 2:
        return [Output(row, array[index]) for index, row in enumerate(rows)]
    return [Output(row, array[index, : len(row.input_ids)]) for index, row in enumerate(rows)]


@contextmanager
def _padding(config: Any, rows: Sequence[Row]) -> Iterator[int]:
    """Yield the token to pad with: that of the config, by which a decoder's head finds a row's last token.

    If it has none that the model knows, it has one that ends no row meanwhile.
    """
    stated: int | None = getattr(config, "pad_token_id", None)
    if stated is not None and stated in range(getattr(config, "vocab_size", 0)):
        yield stated
        return
    ends = {row.input_ids[-1] for row in rows if len(row.input_ids)}
    config.pad_token_id = next(token for token in itertools.count() if token not in ends)
    try:
        yield config.pad_token_id
    finally:
        config.pad_token_id = stated


def _values(result: Any, mask: Tensor, rows: Sequence[Row]) -> Tensor:
    """Return the outputs of the head: [B, C], [B, T, C] or [B, T, 2]; without a head, vectors [B, H]."""
    if "logits" in result:
        logits: Tensor = result.logits
        return logits
    if "start_logits" in result:
        return torch.stack((result.start_logits, result.end_logits), -1)
    return pool_rows(result.last_hidden_state.float(), mask, [row.pooling or Pooling.MEAN for row in rows])


def _generate(model: Any, tokenizer: Tokenizer, rows: Sequence[Row]) -> list[Output]:
    two_stacks = model.config.is_encoder_decoder
    inputs = _padded(model, pad_token(tokenizer), rows, left=not two_stacks)
    prompt = 1 if two_stacks else inputs["input_ids"].shape[1]  # the decoder's start token
    room = getattr(model.config, "max_position_embeddings", sys.maxsize) - prompt
    model.generation_config.forced_eos_token_id = (
        None  # BART forces one at the length limit; serving does not
    )
    ends = end_tokens(model, tokenizer)
    tokens = model.generate(
        **inputs,
        max_new_tokens=max(1, min(max(row.max_new_tokens for row in rows), room)),
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=pad_token(tokenizer),
        eos_token_id=sorted(ends) or None,
    )
    continued = tokens[:, prompt:].tolist()
    return [
        output_of(row, ids[: row.max_new_tokens], ends, tokenizer)
        for row, ids in zip(rows, continued, strict=True)
    ]


def _padded(model: Any, pad: int, rows: Sequence[Row], *, left: bool) -> dict[str, Tensor]:
    arrays = pad_rows(rows, pad, left=left)
    return {name: torch.from_numpy(array).to(model.device) for name, array in arrays.items()}
