# ruff: noqa: TID253 - imported when a model is exported, and by nothing else
"""Exports a version as a transformers folder with merged weights."""

from __future__ import annotations

from pathlib import Path

import transformers

from hub.api import HeadKind
from hub.bases.auto_classes import auto_class
from hub.bases.base import Base
from hub.engine.peft.averaged import averaged
from hub.engine.quiet import peft_quiet
from hub.engine.torch.loading import one_load_at_a_time
from hub.export.folder import copy_processor, write_about
from hub.export.formats import Format, Precision
from hub.export.model import OUTPUTS, answers, merge
from hub.export.parity import Parity
from hub.export.reference import Reference
from hub.export.vector_folder import write_modules
from hub.progress import Progress
from hub.store.records import Version

__all__ = ["write_merged"]


def write_merged(version: Version, base: Base, folder: Path, progress: Progress) -> Parity:
    """Write weights (float32, safetensors), config, tokenizer or processor, settings and README to `folder`.

    Raises:
        ExportFailed: the model loaded from the folder differs from PEFT.
    """
    serving = version.manifest.serving
    reference = Reference(version, base, progress)
    progress("write weights", 0, 1)
    if base.image:
        copy_processor(base, folder)
    else:
        reference.tokenizer.model_max_length = serving.max_length
        reference.tokenizer.save_pretrained(folder)
    factory = getattr(transformers, auto_class(serving.head, base.kind))
    with peft_quiet():
        merge(reference.adapted, serving).save_pretrained(folder)
        with one_load_at_a_time:
            model = factory.from_pretrained(folder, local_files_only=True).eval()
    if serving.head is HeadKind.SEQUENCE_MEAN:
        averaged(model)
    progress("write weights", 1, 1)
    if serving.head is HeadKind.EMBEDDING:
        write_modules(folder, serving, model.config.hidden_size)
    parity = reference.compare(lambda batch: answers(model, serving, batch), Precision.FP32, progress)
    write_about(
        folder,
        version,
        base,
        Format.MERGED,
        Precision.FP32,
        inputs=tuple(reference.batches[0]),
        outputs=OUTPUTS[serving.head],
    )
    return parity
