"""Turns the config and tensors of an adapter into the weights that an engine loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.peft.format import parse
from hub.engine.protocol import AdapterWeights

if TYPE_CHECKING:
    from hub.engine.peft.format import Tensors

__all__ = ["weights_of"]


def weights_of(
    base: Base,
    config: Mapping[str, Any],
    tensors: Tensors,
    *,
    kind: HeadKind,
    num_labels: int,
    sha256: str = "",
    merged: bool = False,
) -> AdapterWeights:
    """Read an adapter for a slot, or merge it into its base; only the latter loads PEFT and the base.

    Raises:
        UnsupportedAdapter: the method cannot be served; the message names an alternative.
        BadAdapter: the adapter is unsound.
        EngineFailed: the base could not be loaded.
    """
    if merged:
        from hub.engine.peft.merge import merged_weights

        return merged_weights(base, config, tensors, kind=kind, num_labels=num_labels, sha256=sha256)
    return parse(config, tensors, kind=kind, num_labels=num_labels, sha256=sha256)
