# ruff: noqa: TID253 - imported only when a stored version is explained
"""Attributes a score of a stored version to the tokens of the request."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel
from pydantic import BaseModel
from torch import Tensor

from hub.api import AdapterInfo, HeadKind, Output, Row
from hub.bases.base import Base
from hub.engine.peft.model import load_adapted
from hub.engine.tokenizer import load_tokenizer
from hub.errors import BadAdapter, BadRequest, HubError, MissingExtra, NotFound
from hub.evaluation.predict import forward_rows
from hub.explain.explanation import Explanation
from hub.explain.token_spans import TokenPlace, find_places, words_of
from hub.registry.host import Registry
from hub.registry.loaded import plugin_call
from hub.store.content.content import copy_verified
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["ExplainOptions", "Method", "explain", "explain_row", "explain_rows", "texts_of"]

Method = Literal["gradients", "attention"]
MIN_STEPS, MAX_STEPS = 64, 1024
TOLERANCE = 0.02  # of the difference of the scores; steps double until the delta is below it
ROWS_AT_ONCE = 32
SPAN_LABELS = ("start", "end")
EXPLAINED = (HeadKind.SEQUENCE, HeadKind.TOKEN, HeadKind.SPAN)


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """The method, the label to explain (None: the predicted one) and, for heads with a score per token, the
    word whose first token is explained (None: the most confident token)."""

    method: Method = "gradients"
    target: str | None = None
    word: str | None = None


@dataclass(frozen=True, slots=True)
class _Score:
    """One output of the model for a row; `position` is None if the head has one score per row."""

    row: Row
    number: int
    position: int | None
    label: int
    name: str


def explain(
    version: Version, values: dict[str, Any], options: ExplainOptions, *, registry: Registry, store: Store
) -> Explanation:
    """Load a version on its base with plain PEFT and explain one of its scores for a request's fields.

    Raises:
        BadRequest: the head has no scores to explain.
        NotFound: the label, the word, the base or the task is unknown.
        BadAdapter: the files cannot be loaded.
        MissingExtra: captum is not installed.
    """
    _check_head(version)
    serving = version.manifest.serving
    loaded = registry.task(serving.task)
    request = loaded.request.model_validate(values)
    tokenizer = load_tokenizer(store.bases.by_fingerprint(serving.base.fingerprint))
    with plugin_call(serving.task, "encode()"):
        rows = loaded.task.encode(request, tokenizer, version.info)
    return explain_rows(version, rows, texts_of(request), options, store)


def texts_of(request: BaseModel) -> dict[str, str]:
    """Return the text fields of a request by name; runs no plugin code."""
    return {name: value for name, value in vars(request).items() if isinstance(value, str)}


def explain_rows(
    version: Version, rows: Sequence[Row], texts: dict[str, str], options: ExplainOptions, store: Store
) -> Explanation:
    """Explain a version's score for a request that was encoded to `rows`; runs no plugin code.

    Raises:
        BadRequest, NotFound, BadAdapter, MissingExtra: as `explain`.
    """
    _check_head(version)
    serving = version.manifest.serving
    base = store.bases.by_fingerprint(serving.base.fingerprint)
    tokenizer = load_tokenizer(base)
    model = _load(version, base, store)
    try:
        return explain_row(model, tokenizer, serving.head, version.info, rows, texts, options)
    finally:  # frees the memory at once: modules are in reference cycles, which only the collector ends
        for parameter in model.parameters():
            parameter.data = parameter.data.new_empty(0)


def _check_head(version: Version) -> None:
    serving = version.manifest.serving
    if serving.head not in EXPLAINED:
        raise BadRequest(
            f"{version.ref} cannot be explained: its task {serving.task} has {serving.head.value} outputs. "
            "Only scores of labels, tokens and spans can be explained."
        )


def _load(version: Version, base: Base, store: Store) -> PeftModel:
    """Load a version from a private copy of its files whose hash is that of the catalog."""
    serving = version.manifest.serving
    store.fetch(version)
    with tempfile.TemporaryDirectory(prefix="hub-explain-") as private:
        copy_verified(version, Path(private))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            return load_adapted(Path(private), base, serving.head, len(serving.labels), device)
        except HubError:
            raise
        except Exception as error:  # PEFT and transformers raise errors of many types for invalid files
            raise BadAdapter(f"{version.ref} cannot be loaded with PEFT: {error}") from error


def explain_row(
    model: PeftModel,
    tokenizer: Any,
    head: HeadKind,
    info: AdapterInfo,
    rows: Sequence[Row],
    texts: dict[str, str],
    options: ExplainOptions,
) -> Explanation:
    """Explain the highest score of a request's rows.

    Raises:
        NotFound: the label or word is unknown.
        BadRequest: the base has no attention maps.
        MissingExtra: captum is not installed.
    """
    model.eval()
    places = [find_places(row.input_ids, texts, tokenizer) for row in rows]
    score = _choose(forward_rows(model, tokenizer, head, rows), places, texts, head, info, options)
    row, where = score.row, places[score.number]
    scorer = _Scorer(model, head, row, score)
    if options.method == "gradients":
        scores, baseline, steps = _integrated_gradients(scorer, _baseline(tokenizer, row))
    else:
        scores, baseline, steps = _rollout(scorer), None, None
    value = scorer.value()
    return Explanation(
        name=info.name,
        version=info.version,
        method=options.method,
        target=score.name,
        score=value,
        position=score.position,
        tokens=tuple(tokenizer.convert_ids_to_tokens(list(row.input_ids))),
        places=where,
        scores=tuple(scores),
        words=tuple(tuple(word) for word in words_of(where)),
        texts=texts,
        baseline_score=baseline,
        convergence_delta=None if baseline is None else sum(scores) - (value - baseline),
        steps=steps,
        row=score.number,
        rows=len(rows),
    )


def _choose(
    outputs: Sequence[Output],
    places: Sequence[tuple[TokenPlace | None, ...]],
    texts: Mapping[str, str],
    head: HeadKind,
    info: AdapterInfo,
    options: ExplainOptions,
) -> _Score:
    labels = SPAN_LABELS if head is HeadKind.SPAN else info.labels
    if options.target is not None and options.target not in labels:
        raise NotFound.of("label", options.target, labels)
    if options.word is not None and head is HeadKind.SEQUENCE:
        raise BadRequest("A word can be explained only by tasks with a score per token. Omit the word.")
    wanted = _candidate_labels(labels, head, options)
    found: list[tuple[float, _Score]] = []
    for number, output in enumerate(outputs):
        assert output.values is not None
        values = output.values
        positions: Sequence[int | None] = [None]
        if head is not HeadKind.SEQUENCE:
            positions = _positions(places[number], output.row, texts, options.word)
        for position in positions:
            scores = values if position is None else values[position]
            found += [
                (float(scores[label]), _Score(output.row, number, position, label, labels[label]))
                for label in wanted
            ]
    if not found:
        raise NotFound(f"The model reads no word {options.word!r} in the texts.")
    return max(found, key=lambda pair: pair[0])[1]


def _candidate_labels(labels: Sequence[str], head: HeadKind, options: ExplainOptions) -> list[int]:
    if head is HeadKind.SPAN:
        return [labels.index(options.target or SPAN_LABELS[0])]
    if options.target is not None:
        return [labels.index(options.target)]
    outside = "O" if head is HeadKind.TOKEN and options.word is None else None
    return [number for number, label in enumerate(labels) if label != outside]


def _positions(
    places: Sequence[TokenPlace | None], row: Row, texts: Mapping[str, str], word: str | None
) -> list[int]:
    """Return the candidate tokens: those of the texts, or the first one of a word."""
    if word is None:
        known = [token for token, place in enumerate(places) if place is not None]
        return known or list(range(len(row.input_ids)))
    for tokens in words_of(places):
        first, last = places[tokens[0]], places[tokens[-1]]
        if first and last and texts[first.field][first.start : last.end].casefold() == word.casefold():
            return [tokens[0]]
    return []


class _Scorer:
    """Runs the model on a row and returns the explained score."""

    def __init__(self, model: PeftModel, head: HeadKind, row: Row, score: _Score) -> None:
        self.model = model
        self.head = head
        self.score = score
        self.ids = torch.tensor([list(row.input_ids)], device=model.device)  # [1, T]
        types = row.token_type_ids
        self.types = None if types is None else torch.tensor([list(types)], device=model.device)

    def __call__(self, ids: Tensor, types: Tensor | None = None) -> Tensor:
        """Return the scores [B] of rows [B, T]."""
        result = self.run(ids, types)
        if self.head is HeadKind.SPAN:
            logits: Tensor = result[f"{SPAN_LABELS[self.score.label]}_logits"]  # [B, T]
            return logits[:, self.score.position]
        logits = result.logits  # [B, C] or [B, T, C]
        chosen = logits if self.score.position is None else logits[:, self.score.position]
        return chosen[:, self.score.label]

    def run(self, ids: Tensor, types: Tensor | None, **settings: Any) -> Any:
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **settings}
        if types is not None:
            given["token_type_ids"] = types
        return self.model(**given)

    def value(self, ids: Tensor | None = None) -> float:
        with torch.no_grad():
            return float(self(self.ids if ids is None else ids, self.types)[0])


def _baseline(tokenizer: Any, row: Row) -> list[int]:
    """Return the row with all tokens but the special ones masked.

    The mask token is preferred, since padding would also shift the positions of RoBERTa models.
    """
    known = (tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    mask = next((token for token in known if token is not None), 0)
    special = set(tokenizer.all_special_ids)
    return [token if token in special else mask for token in row.input_ids]


def _integrated_gradients(scorer: _Scorer, baseline: Sequence[int]) -> tuple[list[float], float, int]:
    """Return scores [T], the score of the baseline and the steps taken (arXiv:1703.01365)."""
    try:
        from captum.attr import LayerIntegratedGradients
    except ImportError:
        raise MissingExtra.of("The method gradients (integrated gradients)", "explain") from None
    layer = scorer.model.get_base_model().get_input_embeddings()
    integrated = LayerIntegratedGradients(scorer, layer)
    masked = torch.tensor([list(baseline)], device=scorer.ids.device)
    before = scorer.value(masked)
    difference, steps = scorer.value() - before, MIN_STEPS
    while True:
        parts = integrated.attribute(
            inputs=scorer.ids,
            baselines=masked,
            additional_forward_args=(scorer.types,),
            n_steps=steps,
            internal_batch_size=ROWS_AT_ONCE,
        )  # [1, T, H]
        scores = parts.sum(-1)[0]
        delta = abs(float(scores.sum()) - difference)
        if steps >= MAX_STEPS or delta <= TOLERANCE * max(abs(difference), 1.0):
            return scores.tolist(), before, steps
        steps *= 2


def _rollout(scorer: _Scorer) -> list[float]:
    """Return the attention of the explained position to each token, [T] with sum 1.

    Attention rollout: arXiv:2005.00928, over the mean of the heads.
    """
    model: Any = scorer.model.get_base_model()
    model.set_attn_implementation("eager")  # the only one that returns maps
    with torch.no_grad():
        maps = scorer.run(scorer.ids, scorer.types, output_attentions=True).get("attentions")
    if not maps or any(each is None for each in maps):
        raise BadRequest(
            f"{model.config.model_type} models have no attention maps; use the method gradients."
        )
    length = scorer.ids.shape[1]
    residual = torch.eye(length, device=scorer.ids.device)
    flow = residual
    for each in maps:  # [1, heads, T, T]
        mixed = each[0].float().mean(0) + residual
        flow = (mixed / mixed.sum(-1, keepdim=True)) @ flow
    if scorer.score.position is not None:
        return list(flow[scorer.score.position].tolist())
    pooled = flow.mean(0) if getattr(model.config, "classifier_pooling", "cls") == "mean" else flow[0]
    return list(pooled.tolist())
