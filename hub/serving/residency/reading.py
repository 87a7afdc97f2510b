"""Reads the files of a version into weights for an engine, and probes the loaded adapter."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.peft.load import weights_of
from hub.engine.protocol import BARE_SLOT, AdapterWeights, EngineRow
from hub.errors import BadAdapter, HostFault
from hub.serving.batching.base_workers import BaseWorker
from hub.store.content.content import read_verified
from hub.store.content.weights import AdapterFiles, parse_adapter
from hub.store.peft.rank import MAX_RANK, check_ranks
from hub.store.records import Version

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["probe", "read_weights"]

ROUNDING = 1e-5  # of the largest value of an embedding


def read_weights(version: Version, base: Base, max_rank: int = MAX_RANK) -> AdapterWeights:
    """Read a version's files once, verify their hash, and parse or merge them.

    Raises:
        BadAdapter: the files are missing, altered or not a sound adapter; or it is not merged and its rank
            exceeds `max_rank`.
        HostFault: they cannot be read.
        EngineFailed: the base that the adapter is merged into cannot be loaded.
    """
    serving = version.manifest.serving
    files = _read(version, max_rank)
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


def _read(version: Version, max_rank: int) -> AdapterFiles:
    try:
        files = read_verified(version)
    except OSError as error:
        raise HostFault(
            f"{version.ref} cannot be read from {version.path}: {error.strerror or error}. Check the disk "
            "and the permissions there, and try again."
        ) from error
    limit = sys.maxsize if version.manifest.serving.merged else max_rank
    return parse_adapter(version.path, files, partial(check_ranks, most=limit))


def probe(base_worker: BaseWorker, slot: int, weights: AdapterWeights, version: Version) -> None:
    """Run one row at the slot: the outputs must be finite, and differ from those of the bare base.

    An adapter without layers is a trained head, and may leave the base's outputs unchanged. The probe runs
    beside the forward in progress: its three short rows delay that forward little, and waiting for it would
    delay the load.

    Raises:
        BadAdapter: they are not.
    """
    kinds = [HeadKind.GENERATE] if weights.kind is HeadKind.GENERATE else [weights.kind, HeadKind.EMBEDDING]
    rows = [EngineRow(base_worker.probe, slot, kind) for kind in kinds]
    outputs = base_worker.engine.run([*rows, EngineRow(base_worker.probe, BARE_SLOT, kinds[-1])], aside=True)
    if any(output.values is not None and not np.isfinite(output.values).all() for output in outputs):
        raise BadAdapter(f"{version.ref} answers a probe with NaN or infinity. Train it again.")
    if not (weights.layers or weights.merged):
        return
    if not weights.changes or _answers_as_the_base(weights, outputs[-2].values, outputs[-1].values):
        raise BadAdapter(f"{version.ref} changes nothing: it answers like the bare base. Train it first.")


def _answers_as_the_base(weights: AdapterWeights, adapted: Array | None, bare: Array | None) -> bool:
    """Compare the probe's outputs; False if there are none, as for generated text.

    DoRA magnitudes and biases that equal the base's cause rounding differences.
    """
    if adapted is None or bare is None:
        return False
    if weights.changes_any_base:
        return np.array_equal(adapted, bare)
    return np.allclose(adapted, bare, rtol=0.0, atol=ROUNDING * float(np.abs(bare).max()))
