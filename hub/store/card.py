"""The model card of an exported version, in the Hugging Face format."""

from __future__ import annotations

from typing import Any

import yaml

from hub.api import HeadKind
from hub.bases.sources import upstream
from hub.store.records import Version

__all__ = ["AUTO_CLASSES", "card"]

_PIPELINES = {
    HeadKind.SEQUENCE: "text-classification",
    HeadKind.TOKEN: "token-classification",
    HeadKind.SPAN: "question-answering",
    HeadKind.EMBEDDING: "feature-extraction",
    HeadKind.GENERATE: "text-generation",
}
AUTO_CLASSES = {
    HeadKind.SEQUENCE: "AutoModelForSequenceClassification",
    HeadKind.TOKEN: "AutoModelForTokenClassification",
    HeadKind.SPAN: "AutoModelForQuestionAnswering",
    HeadKind.EMBEDDING: "AutoModel",
    HeadKind.GENERATE: "AutoModelForCausalLM",
}


def card(version: Version) -> str:
    """Write the card: YAML front matter, then what the adapter is, its figures and how to load it."""
    front = yaml.safe_dump(_front_matter(version), sort_keys=False, allow_unicode=True)
    parts = [_about(version), _figures(version), _data(version), _loading(version), _libraries(version)]
    return f"---\n{front}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(version: Version) -> dict[str, Any]:
    manifest, serving = version.manifest, version.manifest.serving
    pipeline = _PIPELINES[serving.head]
    front: dict[str, Any] = {
        "library_name": "peft",
        "pipeline_tag": pipeline,
        "tags": ["grafthub", "lora", serving.task],
        "base_model": upstream(serving.base.source) or serving.base.name,
    }
    if manifest.metrics and manifest.data:
        metrics = [{"type": name, "value": round(value, 6)} for name, value in manifest.metrics.items()]
        dataset = {"name": manifest.data.source, "type": "custom"}
        result = {"task": {"type": pipeline}, "dataset": dataset, "metrics": metrics}
        front["model-index"] = [{"name": version.name, "results": [result]}]
    return front


def _about(version: Version) -> str:
    serving = version.manifest.serving
    summary = str((version.manifest.recipe or {}).get("summary") or "")
    lines = [
        f"# {version.name}",
        "",
        *((summary, "") if summary else ()),
        f"Version {version.number} of an adapter for the task `{serving.task}`, {version.manifest.origin}.",
        "",
        f"- Base: {serving.base.name} (pull it with `hub base pull {serving.base.source}`), "
        f"fingerprint `{serving.base.fingerprint}`",
        f"- Longest input: {serving.max_length} tokens",
    ]
    if serving.labels:
        lines.append(f"- Labels, in the order of the outputs: {', '.join(f'`{x}`' for x in serving.labels)}")
    return "\n".join(lines)


def _figures(version: Version) -> str:
    metrics = version.manifest.metrics
    if not metrics:
        return "## Figures\n\nNone were recorded."
    rows = [f"| {name} | {value:.4f} |" for name, value in metrics.items()]
    return "\n".join(["## Figures on held-out rows", "", "| metric | value |", "|---|---|", *rows])


def _data(version: Version) -> str:
    data = version.manifest.data
    if data is None:
        return ""
    return (
        f"## Data\n\nTrained on {data.train_rows:,} rows of `{data.source}` and measured on "
        f"{data.eval_rows:,} others; {data.rejected_rows:,} rows could not be used. "
        f"Licence of the data: {data.licence or 'not stated'}. Content sha256: `{data.sha256}`."
    )


def _loading(version: Version) -> str:
    serving = version.manifest.serving
    kind = AUTO_CLASSES[serving.head]
    labels = f", num_labels={len(serving.labels)}" if serving.labels else ""
    base = upstream(serving.base.source) or f"path to {serving.base.name}"
    return f"""## Use

With GraftHub, from the folder that holds this card:

    hub adapters import . {version.name}
    hub deploy {version.name} --as {version.name}

With PEFT alone:

    from peft import PeftModel
    from transformers import {kind}

    model = {kind}.from_pretrained({base!r}{labels})
    model = PeftModel.from_pretrained(model, ".")"""


def _libraries(version: Version) -> str:
    libraries = version.manifest.libraries
    if not libraries:
        return ""
    return "Made with " + ", ".join(f"{name} {number}" for name, number in sorted(libraries.items())) + "."
