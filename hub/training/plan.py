"""The plan of a run, made before a model is loaded: task, options, base, data and serving settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from pydantic import ValidationError

from hub.api import AdapterInfo, Embedding, HeadKind, InputKind, Pooling, TargetKind
from hub.bases.base import Base, BaseKind
from hub.bases.cache import Bases
from hub.bases.sources import parse_source
from hub.data.dataset import Dataset, InvalidRows, check_label_count, prepare
from hub.data.features import usable_rows
from hub.data.label_quality import describe_rows
from hub.errors import BadData, BadPlugin, BadRequest, InvalidName, NotFound
from hub.progress import Progress, silent
from hub.recipe.recipe import Recipe
from hub.registry.active import active
from hub.registry.host import Registry
from hub.registry.kinds import METRICS
from hub.registry.loaded import LoadedTask, plugin_call
from hub.registry.opening import use_plugins
from hub.store.manifest import BaseRef, DataRef, NumberScale, Serving
from hub.training.pooled import head_kind

__all__ = ["Plan", "checked_rows", "make_plan", "settled"]

NUMBER_OUTPUT = "number"  # the name of the output of a head that gives a number
MAX_LEVELS = 100
_NOT_ONE_LABEL = (
    "few-shot trains tasks with one label per text, such as classification and sentiment. These rows of task "
    "{task} are of another kind: use lora"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that can start."""

    recipe: Recipe
    loaded: LoadedTask
    base: Base
    dataset: Dataset
    serving: Serving

    @property
    def head(self) -> HeadKind:
        """The kind of its outputs; `serving.head` says which head makes them."""
        return self.loaded.spec.head

    @property
    def info(self) -> AdapterInfo:
        """The adapter's information for the task; the version has no number yet."""
        return self.serving.info(self.recipe.name, 0)

    @property
    def embedding(self) -> Embedding:
        """How an EMBEDDING task makes and compares vectors."""
        with plugin_call(self.recipe.task, "embedding()"):
            return self.loaded.task.embedding(self.info)

    @property
    def sha256(self) -> str:
        """Hash of everything that determines the weights: only an equal plan may resume a run."""
        others = ("summary", "evaluate", "deploy", "tune", "report")
        recipe = {key: value for key, value in self.recipe.resolved().items() if key not in others}
        recipe["augment"].pop("ablation")
        parts: tuple[Any, ...] = (recipe, self.dataset.sha256, self.serving.model_dump(mode="json"))
        if not self.dataset.chooses:  # `evaluate.calibrate` then decides which rows are trained on
            parts += (len(self.dataset.validation),)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def data_ref(
        self, invalid: int, augmented: Mapping[str, int], dropped: Mapping[str, Mapping[str, int]]
    ) -> DataRef:
        """Describe the data for the manifest; `dropped` copies are counted by change and reason."""
        data, dataset = self.recipe.data, self.dataset
        data_report = replace(dataset.data_report, invalid=invalid).to_json()
        if augmented:
            data_report["augmented"] = dict(augmented)
        if dropped:
            data_report["augmented_dropped"] = {name: dict(reasons) for name, reasons in dropped.items()}
        return DataRef(
            source=", ".join(part.source for part in data.source),
            sha256=dataset.sha256,
            train_rows=len(dataset.train) + len(dataset.validation),
            eval_rows=len(dataset.held_out),
            invalid_rows=invalid,
            licence=data.licence,
            data_report=data_report,
        )


def make_plan(
    recipe: Recipe,
    *,
    registry: Registry,
    bases: Bases,
    cache: Path,
    invalid: InvalidRows,
    progress: Progress = silent,
) -> Plan:
    """Check a recipe against its task, base and data; a missing base is pulled.

    Raises:
        BadRecipe, BadData: the message has the place.
        NotFound, SourceUnavailable: the task or base does not exist, or a download failed.
    """
    loaded = registry.task(recipe.task)
    settings = _settings(recipe, loaded)
    known = active().extensions.specs(METRICS)
    if unknown := [name for name in recipe.evaluate.metrics if name not in known]:
        raise recipe.error("evaluate.metrics", str(NotFound.of(METRICS.word, unknown[0], known)).rstrip("."))
    use_plugins()
    base = _base(recipe, bases, progress)
    _check_kind(recipe, base, loaded)
    recipe = recipe.on_base(base.kind)
    max_length = _max_length(recipe, base, loaded)
    dataset = prepare(recipe, loaded.task, cache, invalid, progress, needs_label=loaded.labelled)
    if loaded.labelled and not dataset.labels:
        raise recipe.error("data", f"the rows have no labels, and task {recipe.task} needs them")
    rows = describe_rows(loaded, dataset.train, dataset.labels, base.model_type)
    if recipe.method.type == "few-shot" and not rows.classes:
        raise recipe.error("method.type", _NOT_ONE_LABEL.format(task=recipe.task))
    recipe = recipe.settled(rows)
    serving = Serving(
        task=recipe.task,
        head=head_kind(recipe, loaded.spec, base),
        base=BaseRef(name=base.name, source=base.source, fingerprint=base.fingerprint),
        labels=_head_labels(recipe, loaded, dataset, settings, max_length),
        settings=settings,
        max_length=max_length,
        merged=recipe.serve == "merged",
        encoder_decoder=base.kind is BaseKind.ENCODER_DECODER,
        contract=registry.plugin_of(recipe.task).fingerprint,
        image=base.image,
    )
    if loaded.numeric:
        serving = serving.model_copy(update={"numbers": _numbers(recipe, loaded, dataset)})
    settings = settled(loaded, base, serving.info(recipe.name, 0))
    plan = Plan(recipe, loaded, base, dataset, serving.model_copy(update={"settings": settings}))
    first = plan.head is HeadKind.EMBEDDING and plan.embedding.pooling is Pooling.CLS
    if first and base.kind is BaseKind.DECODER:
        raise recipe.error("options", f"the first token of {base.name}, a decoder, sees no other: use last")
    return plan


def settled(loaded: LoadedTask, base: Base, info: AdapterInfo) -> dict[str, Any]:
    """Return the settings of a new adapter with the task's defaults for its base; see `Task.settle`.

    Raises:
        BadRecipe: the base does not support the settings.
    """
    if loaded.spec.head is not HeadKind.GENERATE:
        return dict(info.settings)
    from hub.engine.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(base)
    with plugin_call(loaded.spec.name, "settle()"):
        return dict(loaded.task.settle(info, tokenizer, base.model_type))


def checked_rows(
    recipe: Recipe, *, registry: Registry, bases: Bases, cache: Path, invalid: InvalidRows, progress: Progress
) -> tuple[Dataset, bool]:
    """Return the rows that a training run of the recipe would use, and whether they were tokenized.

    They are not if the base is not on this machine: a run may then find more invalid rows, such as long ones.

    Raises:
        BadRecipe, BadData, NotFound, SourceUnavailable: as `make_plan`.
    """
    try:
        bases.get(recipe.base)
    except (NotFound, InvalidName):
        loaded = registry.task(recipe.task)
        rows = prepare(recipe, loaded.task, cache, invalid, progress, needs_label=loaded.labelled)
        return rows, False
    plan = make_plan(recipe, registry=registry, bases=bases, cache=cache, invalid=invalid, progress=progress)
    from hub.engine.tokenizer import load_tokenizer

    dataset, more = usable_rows(plan.loaded, load_tokenizer(plan.base), plan.info, plan.dataset, progress)
    invalid.add(more)
    invalid.check(dataset.size)
    return dataset, True


def _settings(recipe: Recipe, loaded: LoadedTask) -> dict[str, Any]:
    model = loaded.task.options
    try:
        settings = model.model_validate(recipe.options)
    except ValidationError as error:
        raise recipe.explain(error, model, "options") from None
    recipe.check_finite(settings.model_dump(), ("options",))
    return settings.model_dump(mode="json")


def _head_labels(
    recipe: Recipe, loaded: LoadedTask, dataset: Dataset, settings: dict[str, Any], max_length: int
) -> tuple[str, ...]:
    if not loaded.labelled and not loaded.numeric:
        return ()
    named = (NUMBER_OUTPUT,) if loaded.numeric else dataset.labels
    info = AdapterInfo(recipe.name, 0, named, settings, max_length)
    with plugin_call(recipe.task, "head_labels()"):
        labels = tuple(loaded.task.head_labels(info))
    check_label_count(recipe, labels)
    if loaded.numeric and len(labels) != 1:
        raise BadPlugin(f"Task {recipe.task!r} names {len(labels)} outputs, and a number is one.")
    return labels


def _numbers(recipe: Recipe, loaded: LoadedTask, dataset: Dataset) -> NumberScale:
    """Return the scale of the numbers of the training rows, without rows that have none.

    Raises:
        BadRecipe: all are equal, or there are too many levels.
    """
    found = []
    for item in dataset.train:
        with suppress(BadData, BadRequest):  # the run reports these rows
            found.append(loaded.number(item.example))
    distinct = tuple(sorted(set(found)))
    if len(distinct) < 2:
        raise recipe.error("data", "the training rows have no two different numbers to learn")
    ordinal = loaded.spec.target is TargetKind.ORDINAL
    if ordinal and len(distinct) > MAX_LEVELS:
        raise recipe.error(
            "data",
            f"task {recipe.task} learns levels, such as stars, and the rows have {len(distinct):,} different "
            f"numbers; at most {MAX_LEVELS} are levels",
        )
    return NumberScale(
        kind=loaded.spec.target,
        center=fmean(found),
        spread=pstdev(found),
        levels=distinct if ordinal else (),
    )


def _base(recipe: Recipe, bases: Bases, progress: Progress) -> Base:
    """Find the base by name, or pull it if the recipe names a source."""
    try:
        return bases.get(recipe.base)
    except (NotFound, InvalidName) as unknown:
        try:
            parse_source(recipe.base)
        except BadRequest:
            raise recipe.error("base", str(unknown).rstrip(".")) from None
        return bases.pull(recipe.base, progress=progress)


def _check_kind(recipe: Recipe, base: Base, loaded: LoadedTask) -> None:
    generates = loaded.spec.head is HeadKind.GENERATE
    if loaded.spec.input is InputKind.IMAGE:
        if base.kind is not BaseKind.VISION:
            raise recipe.error(
                "base",
                f"task {recipe.task} reads images and needs a base of kind {BaseKind.VISION}, such as "
                f"vit-s-focus; {base.name} is of kind {base.kind}",
            )
        return
    kinds = [BaseKind.DECODER if generates else BaseKind.ENCODER]
    if loaded.spec.head is HeadKind.EMBEDDING:
        kinds.append(BaseKind.DECODER)
    if generates and loaded.task.encoder_decoders:
        kinds.append(BaseKind.ENCODER_DECODER)
    if base.kind not in kinds:
        example = "smollm2-135m" if generates else "minilm"
        needs = f"task {recipe.task} needs a base of kind {' or '.join(kinds)}, such as {example}"
        raise recipe.error("base", f"{needs}; {base.name} is of kind {base.kind}")


def _max_length(recipe: Recipe, base: Base, loaded: LoadedTask) -> int:
    if base.image:
        if recipe.max_length not in (None, base.max_length):
            raise recipe.error(
                "max_length", f"an image has {base.max_length} tokens on {base.name}: leave it out"
            )
        return base.max_length
    if recipe.max_length is None:
        return min(loaded.task.max_length, base.max_length)
    if recipe.max_length > base.max_length:
        raise recipe.error("max_length", f"base {base.name} reads at most {base.max_length} tokens")
    return recipe.max_length
