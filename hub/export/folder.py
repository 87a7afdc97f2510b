"""Writes the files of an exported folder other than weights: settings, and how to load it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hub.api import HeadKind, ImageInput, Pooling
from hub.bases.auto_classes import auto_class
from hub.bases.base import Base
from hub.bases.images import PROCESSOR_FILE
from hub.export.formats import Format, Precision
from hub.store.manifest import Serving
from hub.store.records import Version

__all__ = ["GRAPH_FILE", "PARITY_FILE", "copy_processor", "write_about"]

GRAPH_FILE, PARITY_FILE, TASK_FILE, README_FILE = "model.onnx", "parity.json", "task.json", "README.md"
_PHOTO = "photo.jpg"
_ENCODED = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
_MEANING = {
    HeadKind.SEQUENCE: "The scores are [texts, labels]: the label is the one with the largest score, and the "
    "softmax of the scores gives the probabilities.",
    HeadKind.TOKEN: "The scores are [texts, tokens, labels]: a token's label has the largest score.",
    HeadKind.SPAN: "Start and end scores are [pairs, tokens]: the answer goes from the best start to the "
    "best end at or after it, within the context. A long context is truncated: split it into overlapping "
    "parts.",
    HeadKind.EMBEDDING: "A text's vector is {pooling}. It is not normalized: divide it by its length if "
    "`normalize` is among the settings.",
    HeadKind.GENERATE: "The model was trained on the prompts of its task, and works best on those.",
}
_POOLED = {
    Pooling.MEAN: "the mean over its tokens",
    Pooling.CLS: "the state of its first token",
    Pooling.LAST: "the state of its last token",
}
_MULTI_LABEL = "The scores are [texts, labels]: the sigmoid of each score is the probability of its label."
_IMAGES = """The scores are [images, labels]: the label is the one with the largest score, and the softmax of
the scores gives the probabilities. Before it is resized, the hub turns an image as its EXIF data says, and
puts what is transparent over white."""
_MEANS = """mask = inputs["attention_mask"].unsqueeze(-1)
scores = (outputs.logits * mask).sum(1) / mask.sum(1)
"""
_NUMBER = "The scores are [texts, 1]: the number of each text, in the units of the training data."
_LEVELS = " The answer is the nearest of the levels {levels}."
_SETTINGS = f"""{TASK_FILE} has the labels in the order of the scores, the maximum number of tokens, and the
settings of the task. If they include a `temperature`, divide the scores by it first. {PARITY_FILE} compares
the model with the adapter in PEFT.
"""


def write_about(
    folder: Path,
    version: Version,
    base: Base,
    form: Format,
    precision: Precision,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    """Write README.md, and task.json with what is needed to decode the outputs."""
    serving = version.manifest.serving
    task: dict[str, Any] = {
        "adapter": version.name,
        "version": version.number,
        "sha256": version.sha256,
        "task": serving.task,
        "head": serving.head.value,
        "labels": [] if serving.numbers else list(serving.labels),
        "settings": serving.settings,
        "max_length": serving.max_length,
        **({"image": asdict(serving.image)} if serving.image else {}),
        "base": serving.base.model_dump(mode="json"),
        "format": form.value,
        "precision": precision.value,
        "inputs": list(inputs),
        "outputs": list(outputs),
    }
    text = json.dumps(task, indent=2, ensure_ascii=False) + "\n"
    (folder / TASK_FILE).write_text(text, encoding="utf-8")
    loading, libraries = _loading(serving, base, form, inputs, outputs)
    what = f"as one ONNX graph ({precision})" if form is Format.ONNX else "as a transformers model"
    about = f"{what}. With `pip install {libraries}`"
    (folder / README_FILE).write_text(
        f"# {version.ref}\n\n"
        f"The adapter for the task `{serving.task}`, merged into `{serving.base.name}`, {about}, run in this "
        f"folder:\n\n```python\n{loading}```\n\n{_notes(serving, form)}",
        encoding="utf-8",
    )


def copy_processor(base: Base, folder: Path) -> None:
    """Copy the settings by which the images of a base are made."""
    shutil.copyfile(base.path / PROCESSOR_FILE, folder / PROCESSOR_FILE)


def _loading(
    serving: Serving, base: Base, form: Format, inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[str, str]:
    """Return the code that runs the model, and the libraries that it needs."""
    name = auto_class(serving.head, base.kind)
    if serving.image:
        if form is Format.ONNX:
            return _onnx_image_code(serving.image), "onnxruntime numpy pillow"
        return _processor_code(name), "transformers torch torchvision pillow"
    if form is Format.ONNX:
        return _onnx_code(serving.head, inputs, outputs), "onnxruntime tokenizers"
    return _transformers_code(name, serving.head), "transformers torch"


def _onnx_image_code(image: ImageInput) -> str:
    """Return code that makes of a file what the base takes, step by step, and runs the graph."""
    steps = []
    resample = f"Image.Resampling.{image.resample.name}"
    if image.shortest:
        sides = ", ".join(
            f"picture.{side} * {image.shortest} // min(picture.size)" for side in ("width", "height")
        )
        steps.append(f"picture = picture.resize(({sides}), {resample})\n")
    elif image.resize:
        steps.append(f"picture = picture.resize(({image.resize[1]}, {image.resize[0]}), {resample})\n")
    if image.crop:
        height, width = image.crop
        steps += [
            f"left, top = (picture.width - {width}) // 2, (picture.height - {height}) // 2\n",
            f"picture = picture.crop((left, top, left + {width}, top + {height}))\n",
        ]
    mean, std = ([[[one]] for one in three] for three in (image.mean, image.std))
    return (
        "import numpy, onnxruntime\nfrom PIL import Image\n\n"
        f'session = onnxruntime.InferenceSession("{GRAPH_FILE}")\n'
        f'picture = Image.open("{_PHOTO}").convert("RGB")\n{"".join(steps)}'
        f'pixels = numpy.asarray(picture, "float32").transpose(2, 0, 1) * {image.scale!r}\n'
        f'pixels = ((pixels - {mean}) / {std}).astype("float32")\n'
        '[logits] = session.run(["logits"], {"pixel_values": pixels[None]})\n'
    )


def _processor_code(name: str) -> str:
    return (
        f"from PIL import Image\nfrom transformers import AutoImageProcessor, {name}\n\n"
        'processor = AutoImageProcessor.from_pretrained(".")\n'
        f'model = {name}.from_pretrained(".")\n'
        f'picture = Image.open("{_PHOTO}").convert("RGB")\n'
        'outputs = model(**processor(picture, return_tensors="pt"))\n'
    )


def _onnx_code(head: HeadKind, inputs: Sequence[str], outputs: Sequence[str]) -> str:
    feed = "".join(f'    "{name}": [row.{_ENCODED[name]} for row in rows],\n' for name in inputs)
    return (
        "import onnxruntime, tokenizers\n\n"
        f'session = onnxruntime.InferenceSession("{GRAPH_FILE}")\n'
        f'rows = tokenizers.Tokenizer.from_file("tokenizer.json").encode_batch({_example(head)})\n'
        f"[{', '.join(outputs)}] = session.run({json.dumps(list(outputs))}, {{\n{feed}}})\n"
    )


def _transformers_code(name: str, head: HeadKind) -> str:
    imports = f"from transformers import {name}, AutoTokenizer\n\n"
    tokenizer = 'tokenizer = AutoTokenizer.from_pretrained(".")\n'
    model = f'model = {name}.from_pretrained(".")\n'
    if head is HeadKind.GENERATE:
        run = 'tokens = model.generate(**tokenizer("A prompt.", return_tensors="pt"), max_new_tokens=32)\n'
    else:
        inputs = f'inputs = tokenizer({_example(head)}, padding=True, return_tensors="pt")\n'
        run = f"{inputs}outputs = model(**inputs)\n"
    if head is HeadKind.SEQUENCE_MEAN:
        run += _MEANS
    return imports + tokenizer + model + run


def _example(head: HeadKind) -> str:
    return '[("A question?", "Its context.")]' if head is HeadKind.SPAN else '["A text.", "And another one."]'


def _notes(serving: Serving, form: Format) -> str:
    multi_label = serving.head.declared is HeadKind.SEQUENCE and serving.settings.get("multi_label")
    pooling = _POOLED[Pooling(serving.settings.get("pooling", Pooling.MEAN))]
    if serving.numbers:
        levels = ", ".join(f"{level:g}" for level in serving.numbers.levels)
        return f"{_NUMBER}{_LEVELS.format(levels=levels) if levels else ''}\n\n{_SETTINGS}"
    if serving.image and not multi_label:
        return f"{_IMAGES}\n\n{_SETTINGS}"
    meaning = _MULTI_LABEL if multi_label else _MEANING[serving.head.declared].format(pooling=pooling)
    if serving.head is HeadKind.EMBEDDING and form is Format.MERGED:
        meaning += ' sentence-transformers does both: SentenceTransformer(".") loads this folder too.'
    return f"{meaning}\n\n{_SETTINGS}"
