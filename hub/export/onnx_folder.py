# ruff: noqa: TID253 - imported when a model is exported, and by nothing else
"""Exports a version as one ONNX graph: merged, optionally quantized, and compared with PEFT."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime
import torch
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from hub.api import HeadKind
from hub.bases.base import Base
from hub.errors import ExportFailed
from hub.export.folder import GRAPH_FILE, write_about
from hub.export.formats import Format, Precision
from hub.export.model import OUTPUTS, Standalone, merge
from hub.export.parity import Parity
from hub.export.reference import Reference
from hub.progress import Progress
from hub.store.records import Version

if TYPE_CHECKING:
    from hub.export.probes import Ints

__all__ = ["write_onnx"]

_OPSET = 18
_QUANTIZED = ["MatMul", "Gemm"]  # else newer opsets get nothing quantized
_UNQUANTIZED_FILE = "fp32.onnx"


def write_onnx(
    version: Version, base: Base, folder: Path, precision: Precision, progress: Progress
) -> Parity:
    """Write graph, tokenizer, settings and README into `folder`.

    Raises:
        ExportFailed: the graph could not be made, or does not compute what PEFT does.
    """
    serving = version.manifest.serving
    outputs, exact = OUTPUTS[serving.head], precision is Precision.FP32
    reference = Reference(version, base, progress)
    progress("export graph", 0, 1)
    graph = folder / (GRAPH_FILE if exact else _UNQUANTIZED_FILE)
    _export(merge(reference.adapted, serving), serving.head, reference.batches[1], graph)
    progress("export graph", 1, 1)
    if not exact:
        progress("quantize", 0, 1)
        _quantize(graph, folder / GRAPH_FILE)
        graph.unlink()
        progress("quantize", 1, 1)
    session = _session(folder / GRAPH_FILE)
    inputs = [meta.name for meta in session.get_inputs()]  # the exporter drops one that changes nothing
    parity = reference.compare(
        lambda batch: session.run(outputs, {name: batch[name] for name in inputs}), precision, progress
    )
    _write_tokenizer(reference, serving.max_length, folder)
    write_about(folder, version, base, Format.ONNX, precision, inputs=inputs, outputs=outputs)
    return parity


def _export(model: PreTrainedModel, head: HeadKind, example: Mapping[str, Ints], path: Path) -> None:
    # Only the "eager" attention traces into a graph that keeps its axes dynamic.
    model.set_attn_implementation("eager")
    graph = Standalone(model, head).eval()
    tokens = {0: "batch", 1: "tokens"}
    outputs = tokens if head in (HeadKind.TOKEN, HeadKind.SPAN) else {0: "batch"}
    try:
        with _silent_exporter(), torch.no_grad():
            torch.onnx.export(
                graph,
                tuple(torch.from_numpy(array) for array in example.values()),
                path,
                input_names=list(example),
                output_names=list(OUTPUTS[head]),
                dynamic_axes=dict.fromkeys(example, tokens) | dict.fromkeys(OUTPUTS[head], outputs),
                opset_version=_OPSET,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ExportFailed(
            f"torch cannot export a {model.config.model_type} model to ONNX: "
            f"{str(error).splitlines()[0][:300]} Use --format {Format.MERGED}."
        ) from error


def _quantize(source: Path, target: Path) -> None:
    with _silent_exporter():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _write_tokenizer(reference: Reference, limit: int, folder: Path) -> None:
    """Write a tokenizer.json that alone makes the hub's own rows: cut to `limit`, padded to the longest.

    Raises:
        ExportFailed: its tokens are others than the hub's.
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
                f"The base's tokenizer makes other tokens of {probe.text!r} than its tokenizer.json alone "
                f"does, so nothing was written. Use --format {Format.MERGED}."
            )


@contextmanager
def _silent_exporter() -> Iterator[None]:
    """Keep warnings of what tracing fixes, which the comparison would show, off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
