# ruff: noqa: TID253 - imported by the onnx backbone only
"""One exported graph: its cached file, its export, and the session that runs it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from onnxruntime import OrtValue
from torch import Tensor

from hub.bases.base import Base
from hub.engine.onnx import export
from hub.engine.onnx.binding import StackBinding
from hub.engine.torch.stacks import Parts
from hub.engine.torch.tensors import BatchTensors
from hub.errors import EngineFailed
from hub.files import replacing

__all__ = ["Exporter", "OnnxGraph", "runs_graphs"]


def runs_graphs(device: torch.device) -> bool:
    """Return whether the installed onnxruntime runs graphs on this device."""
    if device.type == "cuda":
        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return device.type == "cpu"


class Exporter:
    """Exports graphs of one base in a subprocess, one at a time."""

    def __init__(self, base: Base, cache: Path) -> None:
        self._base = base
        self._cache = cache
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def file(self, stacks: Sequence[str], *, int8: bool) -> Path:
        """Return the file of the graph with these stacks, exporting it if it is not in the cache; blocks.

        Raises:
            EngineFailed: the export failed or was stopped.
        """
        path = self._cache / f"{self._key(stacks, int8)}.onnx"
        if not path.is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            with replacing(path) as aside:
                self._export(export.arguments(self._base, stacks, aside, int8=int8))
        return path

    def stop(self) -> None:
        """Stop a running export, and start no more."""
        with self._lock:
            self._stopped = True
            if self._process:
                self._process.kill()

    def _export(self, arguments: str) -> None:
        with self._lock:
            if self._stopped:
                raise EngineFailed("The engine is closed.")
            self._process = subprocess.Popen(
                [sys.executable, "-m", export.__name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        with self._process as process:
            _, errors = process.communicate(arguments)
        if process.returncode:
            reason = errors.strip().rpartition("\n")[2] or f"exit status {process.returncode}"
            raise EngineFailed(f"Exporting base {self._base.name!r} to ONNX failed: {reason}")

    def _key(self, stacks: Sequence[str], int8: bool) -> str:
        """Return the cache key: a hash of everything that the graph depends on."""
        parts = [self._base.fingerprint, str(export.REVISION), str(int8), *stacks]
        parts += [version(package) for package in ("torch", "transformers")]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class OnnxGraph:
    """A session on one graph, which reads the torch tensors of the stacks themselves, on any device.

    On a CPU it also shares the float32 embeddings in `weights` (by path in the base), which onnxruntime
    only looks up. onnxruntime repacks the weights of linear layers into its own copy.
    """

    def __init__(
        self,
        file: Path,
        stacks: Sequence[str],
        device: torch.device,
        threads: int,
        weights: Mapping[str, Tensor],
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # onnxruntime would keep a memory pattern per batch shape, and there are thousands of shapes.
        options.enable_mem_pattern = False
        # Spinning between the operators of a run nearly doubles the speed of short ones; spinning between
        # runs would take the cores that parse requests and tokenize.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        shared = _embeddings(weights) if device.type == "cpu" else {}
        values = {export.MODEL + name: OrtValue.from_dlpack(tensor) for name, tensor in shared.items()}
        for name, value in values.items():
            options.add_initializer(name, value)
        self._session = onnxruntime.InferenceSession(file, options, providers=_providers(device))
        self._shared = values  # the session holds pointers only: these must outlive it
        self._inputs = {meta.name for meta in self._session.get_inputs()}
        self._device = device
        self._options = onnxruntime.RunOptions()
        if device.type == "cpu":
            # Each run frees its memory: the arena would keep the sum of the largest blocks ever needed.
            self._options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._idle: list[StackBinding[Any]] = []  # at most one per concurrent run
        self.stacks = frozenset(stacks)
        self.packs = "segments" in self._inputs
        self.nbytes = file.stat().st_size - sum(tensor.nbytes for tensor in shared.values())

    def forget(self, layers: Mapping[str, Parts]) -> None:
        """Drop bindings to other stacks, which keep the memory of replaced stacks alive."""
        self._idle = [binding for binding in self._idle if binding.reads(layers)]

    def run(self, batch: BatchTensors, layers: Mapping[str, Parts]) -> Tensor:
        """Return the last hidden states; a new stack comes in a new `layers` mapping."""
        try:
            binding = self._idle.pop()
        except IndexError:
            binding = StackBinding(self._session.io_binding())
        binding.bind(layers, self.stacks, _put)
        values = binding.values
        for name, tensor in zip(export.BATCH_INPUTS, batch.as_packed().present(), strict=True):
            if name in self._inputs:
                _put(values, name, tensor.contiguous())
        # Bound for each run, else onnxruntime overwrites the output of the previous run.
        values.bind_output(export.HIDDEN, self._device.type, self._device.index or 0)
        if self._device.type == "cuda":
            # onnxruntime has a stream of its own, and copies of the batch may be under way on torch's.
            torch.cuda.current_stream(self._device).synchronize()
        self._session.run_with_iobinding(values, self._options)
        (value,) = values.get_outputs()
        self._idle.append(binding)
        if self._device.type == "cpu":
            return torch.from_numpy(value.numpy())
        # `_ortvalue` (onnxruntime 1.31): the Python wrapper itself does not export DLPack.
        hidden: Tensor = torch.utils.dlpack.from_dlpack(value._ortvalue)
        return hidden


def _put(values: Any, name: str, tensor: Tensor) -> None:
    """Bind an input to the memory of a tensor."""
    values.bind_ortvalue_input(name, OrtValue.from_dlpack(tensor))


def _embeddings(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.detach()
        for name, tensor in weights.items()
        if name.endswith("embeddings.weight") and tensor.dtype is torch.float32
    }


def _providers(device: torch.device) -> list[str | tuple[str, dict[str, str]]]:
    if device.type == "cuda":
        return [("CUDAExecutionProvider", {"device_id": str(device.index or 0)}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
