"""The model card of a version: the sections of Hugging Face's template that have content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from hub.api import HeadKind
from hub.bases.auto_classes import auto_class
from hub.bases.base import BaseKind
from hub.bases.sources import licence, upstream
from hub.store.card.figures import evaluation_section
from hub.store.card.markdown import code, plain, table
from hub.store.records import Version

__all__ = ["card"]

Report = Mapping[str, Any]
Section = tuple[str, Iterable[str]]

_PIPELINES = {
    HeadKind.SEQUENCE: "text-classification",
    HeadKind.TOKEN: "token-classification",
    HeadKind.SPAN: "question-answering",
    HeadKind.EMBEDDING: "feature-extraction",
    HeadKind.GENERATE: "text-generation",
}
_GENERATED = ("translation", "summarization")  # Hugging Face has a pipeline of its own for these
_MEANS = "A text's scores are the means over its tokens, special tokens included, of what this model gives."
_LANGUAGE = re.compile(r"[a-z]{2,3}")


def card(version: Version, report: Report | None = None) -> str:
    """Return the card of a version from its manifest and report; it contains no text of a row."""
    summary = str((version.manifest.recipe or {}).get("summary") or "")
    parts = [
        f"# {version.name}",
        escape(summary, quote=False),
        f"Version {version.number} of an adapter for the task {code(version.manifest.serving.task)}, "
        f"{version.manifest.origin}.",
        *_section("## Model Details", _details(version)),
        *_section("## Uses", _uses(version)),
        *_section("## Bias, Risks, and Limitations", _limits(version, report)),
        *_section("## How to Get Started with the Model", _loading(version)),
        *_section("## Training Details", _training(version, report)),
        *evaluation_section(version, report),
        *_section("## Technical Specifications", _technical(version, report)),
    ]
    return f"---\n{_front_matter(version)}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, parts: Iterable[str]) -> list[str]:
    said = [part for part in parts if part]
    return [title, *said] if said else []


def _front_matter(version: Version) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    manifest, serving = version.manifest, version.manifest.serving
    pipeline = serving.task if serving.task in _GENERATED else _PIPELINES[serving.head.declared]
    if serving.image:
        pipeline = "image-classification"
    method = str((manifest.recipe or {}).get("method", {}).get("type", "lora"))
    source = manifest.data.source if manifest.data else ""
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type="custom",
            dataset_name=source,
            metric_type=name,
            metric_value=round(value, 6),
        )
        for name, value in manifest.metrics.items()
    ]
    data = ModelCardData(
        language=_languages(serving.settings) or None,
        license=licence(serving.base.source),
        library_name="peft",
        pipeline_tag=pipeline,
        tags=["grafthub", method, serving.task],
        base_model=upstream(serving.base.source) or serving.base.name,
        datasets=_hub_ids(source) or None,
        metrics=list(manifest.metrics) or None,
        model_name=version.name if source and results else None,
        eval_results=results if source and results else None,
    )
    return str(data.to_yaml())


def _languages(settings: Mapping[str, Any]) -> list[str]:
    """Return the language codes in options such as `source_language`."""
    values = [value for name, value in settings.items() if name.endswith("language")]
    return list(dict.fromkeys(value for value in values if _LANGUAGE.fullmatch(str(value))))


def _hub_ids(source: str) -> list[str]:
    """Return the names of Hugging Face data sets among the sources (`hf:name@revision`)."""
    found = (part.removeprefix("hf:") for part in source.split(", ") if part.startswith("hf:"))
    return list(dict.fromkeys(re.split(r"[@:]", name)[0] for name in found))


def _details(version: Version) -> list[str]:
    manifest, serving = version.manifest, version.manifest.serving
    base, method = serving.base, (manifest.recipe or {}).get("method", {})
    lines = [
        f"- **Adapter for:** the task {code(serving.task)} of GraftHub, with a {serving.head.value} head",
        f"- **Finetuned from model:** {plain(base.name)} (pull it with "
        f"{code(f'hub base pull {base.source}')}), fingerprint `{base.fingerprint}`",
        f"- **Method:** {plain(method['type'])}" if "type" in method else "",
        f"- **Longest input:** {serving.max_length} tokens",
    ]
    if serving.numbers and serving.numbers.levels:
        lines.append(f"- **Levels:** {', '.join(f'{level:g}' for level in serving.numbers.levels)}")
    elif serving.labels and not serving.numbers:
        lines.append(f"- **Labels, in the order of the outputs:** {', '.join(map(code, serving.labels))}")
    lines.append(f"- **Content sha256:** `{version.sha256}`")
    return ["### Model Description", "\n".join(line for line in lines if line)]


def _uses(version: Version) -> list[str]:
    serving = version.manifest.serving
    answers = (
        f"answers with one of its {len(serving.labels)} labels" if serving.labels else "answers as its task"
    )
    if numbers := serving.numbers:
        answers = (
            f"answers with a number; those of the training rows have a mean of {numbers.center:.4g} and a "
            f"standard deviation of {numbers.spread:.4g}"
        )
    known, others = "Text like that", "Other languages, subjects or kinds of text"
    if serving.image:
        known, others = "Images like those", "Other subjects, cameras or kinds of images"
    return [
        "### Direct Use",
        f"{known} of the rows it was trained on; it {answers}.",
        "### Out-of-Scope Use",
        f"{others} than the training rows have: nothing was measured there. "
        "Decisions about people that nobody checks.",
    ]


def _limits(version: Version, report: Report | None) -> list[str]:
    manifest = version.manifest
    parts = []
    if manifest.underperforming_slices:
        rows = [
            (plain(one.column), plain(one.value), f"{one.rows:,}", f"{one.metric:.4f}", f"{one.others:.4f}")
            for one in manifest.underperforming_slices
        ]
        parts += [
            "On these held-out rows it is worse than on all others, by more than chance explains:",
            table(("column", "value", "rows", "here", "elsewhere"), rows),
        ]
    baseline = ((report or {}).get("evaluation") or {}).get("baseline") or {}
    if manifest.metric in baseline:
        bare = manifest.serving.head is HeadKind.EMBEDDING
        who = "The base without the adapter" if bare else "Always giving the commonest label"
        if manifest.serving.numbers:
            who = "Always giving the mean of the training rows"
        parts.append(f"{who}: {plain(manifest.metric)} {baseline[manifest.metric]:.4f} on the same rows.")
    if (found := manifest.calibration) is not None:
        done = f" after a temperature of {found.temperature:.3f}" if found.temperature != 1 else ""
        parts.append(
            f"Its probabilities are off by {found.ece_after:.4f} on average (expected calibration error)"
            f"{done}."
        )
    if manifest.data and (pii := manifest.data.data_report.get("pii")):
        counts = ", ".join(f"{plain(kind)} {count:,}" for kind, count in pii.items())
        parts.append(f"Personal data found in the rows, by kind: {counts}.")
    return parts


def _loading(version: Version) -> list[str]:
    serving = version.manifest.serving
    base_kind = BaseKind.ENCODER_DECODER if serving.encoder_decoder else BaseKind.DECODER
    kind = auto_class(serving.head, BaseKind.VISION if serving.image else base_kind)
    labels = f", num_labels={len(serving.labels)}" if serving.labels else ""
    base = upstream(serving.base.source) or f"path to {serving.base.name}"
    return [
        "With GraftHub, from the folder that holds this card:",
        f"    hub adapters import . {version.name}\n    hub deploy {version.name} --as {version.name}",
        "With PEFT alone:",
        "    from peft import PeftModel\n"
        f"    from transformers import {kind}\n\n"
        f"    model = {kind}.from_pretrained({base!r}{labels})\n"
        '    model = PeftModel.from_pretrained(model, ".")',
        _MEANS if serving.head is HeadKind.SEQUENCE_MEAN else "",
    ]


def _training(version: Version, report: Report | None) -> list[str]:
    manifest = version.manifest
    data, parts = manifest.data, []
    if data is not None:
        parts += [
            "### Training Data",
            f"Trained on {data.train_rows:,} rows of {code(data.source)} and measured on "
            f"{data.eval_rows:,} others; {data.invalid_rows:,} rows could not be used. "
            f"Licence of the data: {plain(data.licence) or 'not stated'}. Content sha256: `{data.sha256}`.",
        ]
    done = _section("#### Preprocessing", _preprocessing(data.data_report if data else {}))
    done += _section("#### Training Hyperparameters", _hyperparameters(manifest.recipe or {}))
    done += _section("#### Speeds, Sizes, Times", _times(manifest.train_seconds, report))
    return [*parts, *(["### Training Procedure", *done] if done else [])]


def _preprocessing(data_report: Mapping[str, Any]) -> list[str]:
    counts = {
        "rows read": data_report.get("read", 0),
        **{f"changed: {reason}": count for reason, count in data_report.get("changed", {}).items()},
        **{f"filtered: {reason}": count for reason, count in data_report.get("filtered", {}).items()},
        "duplicates": data_report.get("duplicates", 0),
        "held-out rows removed because they are also trained on": data_report.get("leaked", 0),
        **{f"changed copies: {how}": count for how, count in data_report.get("augmented", {}).items()},
    }
    rows = [(plain(what), f"{count:,}") for what, count in counts.items() if count]
    return [table(("what", "rows"), rows)] if rows else []


def _hyperparameters(recipe: Mapping[str, Any]) -> list[str]:
    rows = [
        (f"{section}.{key}", plain(value))
        for section in ("method", "train")
        for key, value in recipe.get(section, {}).items()
        if value is not None and value != []
    ]
    return [table(("key", "value"), rows)] if rows else []


def _times(seconds: float | None, report: Report | None) -> list[str]:
    training: Mapping[str, Any] = (report or {}).get("training") or {}
    lines = [f"{training['steps']:,} steps, {training['epochs']:g} epochs." if training else ""]
    lines.append(f"{seconds:.1f} s in all, data and measuring included." if seconds else "")
    return [" ".join(line for line in lines if line)]


def _technical(version: Version, report: Report | None) -> list[str]:
    place: Mapping[str, Any] = (report or {}).get("environment") or {}
    libraries: Sequence[tuple[str, str]] = sorted(version.manifest.libraries.items())
    made = ", ".join(f"{name} {number}" for name, number in libraries)
    return [
        f"Hardware: {plain(place['device'])}." if place else "",
        f"Made with {made}." if made else "",
    ]
