# ruff: noqa: TID253 - imported by the onnx engine only
"""One exported graph: where its file is cached, how it is made, and a session that runs it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path

import onnxruntime
import torch
from onnxruntime import OrtValue

from hub.bases.base import Base
from hub.engine import export
from hub.engine.heads import BackboneOutput
from hub.engine.lora import Stack
from hub.errors import EngineFailed

__all__ = ["Exporter", "OnnxGraph"]


class Exporter:
    """Makes graph files for one base, one at a time, in a process of their own."""

    def __init__(self, base: Base, cache: Path) -> None:
        self._base = base
        self._cache = cache
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def file(self, layers: Collection[str]) -> Path:
        """Return the graph's file, exporting it if it is not in the cache; blocks.

        Raises:
            EngineFailed: the export failed or was stopped.
        """
        path = self._cache / f"{self._key(layers)}.onnx"
        if not path.is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            try:
                self._export(sorted(layers), part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return path

    def stop(self) -> None:
        """End an export that is under way, and start no more."""
        with self._lock:
            self._stopped = True
            if self._process:
                self._process.kill()

    def _export(self, layers: list[str], path: Path) -> None:
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
            _, errors = process.communicate(export.order(self._base, layers, path))
        if process.returncode:
            reason = errors.strip().rpartition("\n")[2] or f"exit status {process.returncode}"
            raise EngineFailed(f"Exporting base {self._base.name!r} to ONNX failed: {reason}")

    def _key(self, layers: Collection[str]) -> str:
        """Name all that the graph depends on."""
        parts = [self._base.fingerprint, str(export.REVISION), *sorted(layers)]
        parts += [version(package) for package in ("torch", "transformers")]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class OnnxGraph:
    """A session on one graph; the stacks it reads are the torch tensors themselves."""

    def __init__(self, file: Path, layers: Collection[str], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait take the cores that parse requests and tokenize.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._inputs = {meta.name for meta in self._session.get_inputs()}
        self._outputs = [meta.name for meta in self._session.get_outputs()]
        self._stacks: Mapping[str, Stack] | None = None
        self._binding = self._session.io_binding()
        self.layers = frozenset(layers)
        self.nbytes = file.stat().st_size

    def run(self, batch: tuple[torch.Tensor, ...], stacks: Mapping[str, Stack]) -> BackboneOutput:
        """Run the batch (ids, mask, types, slots) on `stacks`, a mapping that is replaced when it changes."""
        if stacks is not self._stacks:
            self._bind_stacks(stacks)
        for name, tensor in zip(export.BATCH_INPUTS, batch, strict=True):
            if name in self._inputs:
                self._binding.bind_ortvalue_input(name, OrtValue.from_dlpack(tensor))
        for name in self._outputs:
            self._binding.bind_output(name)  # anew, or onnxruntime writes over what the last run returned
        self._session.run_with_iobinding(self._binding)
        hidden, *pooled = (torch.from_numpy(value.numpy()) for value in self._binding.get_outputs())
        return BackboneOutput(hidden, pooled[0] if pooled else None)

    def _bind_stacks(self, stacks: Mapping[str, Stack]) -> None:
        for layer in self.layers:
            for name, tensor in zip(export.stack_inputs([layer]), stacks[layer], strict=True):
                self._binding.bind_ortvalue_input(name, OrtValue.from_dlpack(tensor))
        self._stacks = stacks
