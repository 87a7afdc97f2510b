# ruff: noqa: TID253 - imported when a model is exported, and by nothing else
"""Exports a version as one ONNX graph: merged, optionally quantized, and compared with PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.onnx.convert import export_module, quantize
from hub.errors import ExportFailed
from hub.export.folder import GRAPH_FILE, copy_processor, write_about
from hub.export.formats import Format, Precision
from hub.export.model import OUTPUTS, merge, standalone
from hub.export.parity import Parity
from hub.export.reference import Reference
from hub.progress import Progress
from hub.store.manifest import Serving
from hub.store.records import Version

if TYPE_CHECKING:
    from hub.export.probes import Numbers

__all__ = ["write_onnx"]


def write_onnx(
    version: Version, base: Base, folder: Path, precision: Precision, progress: Progress
) -> Parity:
    """Write graph, tokenizer or image processor, settings and README to `folder`.

    Raises:
        ExportFailed: the export failed, or the graph differs from PEFT.
    """
    serving = version.manifest.serving
    outputs = OUTPUTS[serving.head]
    reference = Reference(version, base, progress)
    progress("export graph", 0, 1)
    graph = folder / GRAPH_FILE
    _export(merge(reference.adapted, serving), serving, reference.batches[1], graph)
    progress("export graph", 1, 1)
    if precision is Precision.INT8:
        progress("quantize", 0, 1)
        quantize(graph)
        progress("quantize", 1, 1)
    session = _session(graph)
    inputs = [meta.name for meta in session.get_inputs()]  # the exporter drops unused inputs
    parity = reference.compare(
        lambda batch: session.run(outputs, {name: batch[name] for name in inputs}), precision, progress
    )
    if base.image:
        copy_processor(base, folder)
    else:
        _write_tokenizer(reference, serving.max_length, folder)
    write_about(folder, version, base, Format.ONNX, precision, inputs=inputs, outputs=outputs)
    return parity


def _export(model: PreTrainedModel, serving: Serving, example: Mapping[str, Numbers], path: Path) -> None:
    model.set_attn_implementation("eager")  # see export_module
    head = serving.head
    graph = standalone(model, serving).eval()
    tokens = {0: "batch"} if serving.image else {0: "batch", 1: "tokens"}
    outputs = tokens if head in (HeadKind.TOKEN, HeadKind.SPAN) else {0: "batch"}
    try:
        inputs = {name: torch.from_numpy(array) for name, array in example.items()}
        axes = dict.fromkeys(example, tokens) | dict.fromkeys(OUTPUTS[head], outputs)
        export_module(graph, inputs, OUTPUTS[head], axes, path)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ExportFailed(
            f"torch cannot export a {model.config.model_type} model to ONNX: "
            f"{str(error).splitlines()[0][:300]} Use --format {Format.MERGED}."
        ) from error


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _write_tokenizer(reference: Reference, limit: int, folder: Path) -> None:
    """Write a tokenizer.json that truncates to `limit` and pads to the longest row, as the hub does.

    Raises:
        ExportFailed: its tokens differ from those of the hub.
    """
    reference.tokenizer.save_pretrained(folder)
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.enable_truncation(limit, direction=reference.tokenizer.truncation_side)
    word = reference.tokenizer.convert_ids_to_tokens(reference.pad)
    tokenizer.enable_padding(pad_id=reference.pad, pad_token=word)
    tokenizer.save(path)
    for probe in chain.from_iterable(reference.probes):
        if tokenizer.encode(probe.text, probe.pair).ids != list(probe.tokens["input_ids"]):
            raise ExportFailed(
                f"The base's tokenizer gives other tokens for {probe.text!r} than its tokenizer.json alone, "
                f"so nothing was written. Use --format {Format.MERGED}."
            )
