"""From a version's files to what an engine is given: copied, hashed, parsed; then asked a probe."""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.peft.load import weights_of
from hub.engine.protocol import BARE_SLOT, AdapterWeights, EngineRow
from hub.errors import BadAdapter, HostFault
from hub.serving.batching.base_workers import BaseWorker
from hub.store.content.content import content_hash
from hub.store.content.weights import CONFIG_FILE, WEIGHTS_FILE, AdapterFiles, read_adapter
from hub.store.peft.rank import MAX_RANK, check_rank
from hub.store.records import Version

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["probe", "read_weights"]

log = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MEMORY = Path("/dev/shm")  # a file system in memory, on Linux
ROUNDING = 1e-5  # of the largest value of an embedding


def read_weights(version: Version, scratch: Path, base: Base, max_rank: int = MAX_RANK) -> AdapterWeights:
    """Copy a version's files aside, check the copy against the version's hash, and parse or merge it.

    Raises:
        BadAdapter: the files are gone, were altered, or are not a sound adapter; or its rank is larger than
            `max_rank`, and it is not merged.
        HostFault: they cannot be copied: the disk is full, or not to be read or written.
        EngineFailed: the base that it is to be merged into could not be loaded.
    """
    serving = version.manifest.serving
    files = _copied(version, scratch, max_rank)
    weights = weights_of(
        base,
        files.config,
        files.tensors,
        kind=serving.head,
        num_labels=len(serving.labels),
        sha256=version.sha256,
        merged=serving.merged,
    )
    int8 = version.manifest.precision.get("int8")
    return replace(weights, int8=int8 is not None and int8.passed)


def _copied(version: Version, scratch: Path, max_rank: int) -> AdapterFiles:
    """Read the files from a private copy whose hash is right; on a full disk the copy is in memory.

    So a worker that is replaced, or needs an evicted adapter again, serves on a full disk as well.
    """
    try:
        return _copied_to(version, scratch, max_rank)
    except HostFault as fault:
        full = isinstance(fault.__cause__, OSError) and fault.__cause__.errno in _FULL
        if not (full and _MEMORY.is_dir()):
            raise
        log.warning("%s is copied to memory: the disk of %s is full.", version.ref, scratch.parent)
        return _copied_to(version, _MEMORY, max_rank)


def _copied_to(version: Version, scratch: Path, max_rank: int) -> AdapterFiles:
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="load-") as private:
            folder = Path(private)
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                shutil.copyfile(version.path / name, folder / name)
            if content_hash(folder, version.manifest.serving) != version.sha256:
                raise BadAdapter(
                    f"{version.ref} was altered after it was stored: its files do not have the hash in the "
                    "catalog. Import or train it again."
                )
            if not version.manifest.serving.merged:
                check_rank(folder, max_rank)
            return read_adapter(folder)
    except FileNotFoundError as error:
        raise BadAdapter(
            f"{version.ref}: {Path(error.filename).name} is gone from the store. Import or train it again."
        ) from None
    except OSError as error:
        raise HostFault(
            f"{version.ref} cannot be copied to the folder {scratch.name}: {error.strerror or error}. Check "
            "free space and permissions there, and try again."
        ) from error


def probe(base_worker: BaseWorker, slot: int, weights: AdapterWeights, version: Version) -> None:
    """Run one row at the slot; the adapter has to change what the bare base says, to finite numbers.

    It does not wait for the forward under way: three short rows hold that up less than it would hold up a
    deploy, or those who wait for the version.

    One that has no layers, by its own account, is a trained head, and may leave the base as it is.

    Raises:
        BadAdapter: it does not.
    """
    kinds = [HeadKind.GENERATE] if weights.kind is HeadKind.GENERATE else [weights.kind, HeadKind.EMBEDDING]
    rows = [EngineRow(base_worker.probe, slot, kind) for kind in kinds]
    outputs = base_worker.engine.run([*rows, EngineRow(base_worker.probe, BARE_SLOT, kinds[-1])], aside=True)
    if any(output.values is not None and not np.isfinite(output.values).all() for output in outputs):
        raise BadAdapter(f"{version.ref} answers a probe with NaN or infinity. Train it again.")
    if not (weights.layers or weights.merged):
        return
    if not weights.changes or _answers_as_the_base(weights, outputs[-2].values, outputs[-1].values):
        raise BadAdapter(f"{version.ref} changes nothing: it answers as the bare base does. Train it first.")


def _answers_as_the_base(weights: AdapterWeights, adapted: Array | None, bare: Array | None) -> bool:
    """Compare the probe's answers; False where there are none, as for generated text.

    DoRA magnitudes and biases that are still the base's own leave differences of rounding.
    """
    if adapted is None or bare is None:
        return False
    if weights.changes_any_base:
        return np.array_equal(adapted, bare)
    return np.allclose(adapted, bare, rtol=0.0, atol=ROUNDING * float(np.abs(bare).max()))
