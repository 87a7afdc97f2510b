# ruff: noqa: TID253 - imported only when a stored version is explained
"""Attributes a score of a stored version to the tokens, or the patches of the image, of the request."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from pydantic import BaseModel
from torch import Tensor

from hub.api import AdapterInfo, ExplainedScore, HeadKind, ImageInput, Output, Row, TokenScores
from hub.bases.base import Base, BaseKind
from hub.engine.peft.model import load_adapted
from hub.engine.tokenizer import load_tokenizer
from hub.engine.torch.heads import NO_TOKEN
from hub.errors import BadAdapter, BadPlugin, BadRequest, HubError, NotFound
from hub.evaluation.predict import forward_rows
from hub.explain.explanation import Explanation, ImageExplanation
from hub.explain.patches import PatchScore, grid_of
from hub.explain.picture import png
from hub.explain.token_spans import TokenPlace, find_places, words_of
from hub.registry.active import active
from hub.registry.host import Registry
from hub.registry.kinds import EXPLAINERS
from hub.registry.loaded import extension_call, plugin_call
from hub.store.content.content import copy_verified
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["ExplainOptions", "explain", "explain_image", "explain_row", "explain_rows", "texts_of"]

SPAN_LABELS = ("start", "end")
EXPLAINED = (HeadKind.SEQUENCE, HeadKind.TOKEN, HeadKind.SPAN)


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """The explainer, the label to explain (None: the predicted one) and, for heads with a score per token,
    the word whose first token is explained (None: the most confident token)."""

    method: str = "gradients"
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
) -> Explanation | ImageExplanation:
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
) -> Explanation | ImageExplanation:
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
        if serving.image:
            return explain_image(model, tokenizer, version.info, serving.image, rows, options)
        head = serving.head.declared
        return explain_row(model, tokenizer, head, version.info, rows, texts, options)
    finally:  # frees the memory at once: modules are in reference cycles, which only the collector ends
        for parameter in model.parameters():
            parameter.data = parameter.data.new_empty(0)


def _check_head(version: Version) -> None:
    serving = version.manifest.serving
    if serving.head.declared not in EXPLAINED:
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
            model = load_adapted(Path(private), base, serving.head, len(serving.labels), device)
        except HubError:
            raise
        except Exception as error:  # PEFT and transformers raise errors of many types for invalid files
            raise BadAdapter(f"{version.ref} cannot be loaded with PEFT: {error}") from error
    if base.kind is BaseKind.DECODER:  # its head reads the last token before padding, and may mask with that
        model.config.pad_token_id = NO_TOKEN
    return model


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
        NotFound: the explainer, label or word is unknown.
        BadRequest: the base has no attention maps.
        MissingExtra: captum is not installed.
    """
    model.eval()
    places = find_places([row.input_ids for row in rows], texts, tokenizer)
    score = _choose(forward_rows(model, tokenizer, head, rows), places, texts, head, info, options)
    row, where = score.row, places[score.number]
    scorer = _Scorer(model, head, row, score, _baseline(tokenizer, row))
    value = scorer.value()
    found, scores = _attribute(scorer, options.method)
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
        baseline_score=found.baseline_score,
        convergence_delta=_delta(found, scores, value),
        steps=found.steps,
        row=score.number,
        rows=len(rows),
    )


def explain_image(
    model: PeftModel,
    tokenizer: Any,
    info: AdapterInfo,
    image: ImageInput,
    rows: Sequence[Row],
    options: ExplainOptions,
) -> ImageExplanation:
    """Explain the highest score of a request's images by their patches.

    Raises:
        NotFound, BadRequest, MissingExtra: as `explain_row`.
    """
    model.eval()
    outputs = forward_rows(model, tokenizer, HeadKind.SEQUENCE, rows)
    score = _choose(outputs, [()] * len(rows), {}, HeadKind.SEQUENCE, info, options)
    grid, pixels = grid_of(model.config, image), score.row.pixel_values
    assert pixels is not None
    scorer = PatchScore(model, pixels, image, grid, score.label)
    value = scorer.value()
    found, scores = _attribute(scorer, options.method)
    ends = range(grid.columns, len(scores) + 1, grid.columns)
    return ImageExplanation(
        name=info.name,
        version=info.version,
        method=options.method,
        target=score.name,
        score=value,
        grid=grid,
        patches=tuple(tuple(scores[end - grid.columns : end]) for end in ends),
        picture=png(pixels, image),
        baseline_score=found.baseline_score,
        convergence_delta=_delta(found, scores, value),
        steps=found.steps,
        row=score.number,
        rows=len(rows),
    )


def _attribute(score: ExplainedScore, method: str) -> tuple[TokenScores, list[float]]:
    """Run an explainer; return what it found, and a number for each token."""
    explainer = active().extensions.get(EXPLAINERS, method)
    with extension_call(EXPLAINERS.word, method, "attribute()"):
        found = explainer.attribute(score)
        scores = [float(one) for one in found.scores]
    if len(scores) != (tokens := score.ids.shape[1]):
        raise BadPlugin(f"Explainer {method!r} returned {len(scores)} scores for {tokens} tokens.")
    return found, scores


def _delta(found: TokenScores, scores: Sequence[float], value: float) -> float | None:
    baseline = found.baseline_score
    return None if baseline is None else sum(scores) - (value - baseline)


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

    def __init__(
        self, model: PeftModel, head: HeadKind, row: Row, score: _Score, baseline: Sequence[int]
    ) -> None:
        self.model = model
        self.baseline = baseline
        self.position = score.position
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
