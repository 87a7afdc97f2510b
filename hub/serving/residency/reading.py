"""Reads the files of a version into weights for an engine."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

from hub.bases.base import Base
from hub.engine.peft.load import weights_of
from hub.engine.protocol import AdapterWeights
from hub.errors import HostFault
from hub.store.content.content import read_verified
from hub.store.content.weights import AdapterFiles, parse_adapter
from hub.store.peft.rank import MAX_RANK, check_ranks
from hub.store.records import Version

__all__ = ["read_weights"]


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
