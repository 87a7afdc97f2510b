"""Probe batches for comparing models that read images: fields of colour, from coarse to fine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from hub.api import ImageInput

__all__ = ["image_batches"]

_SIZES = (1, 2, 5, 16)  # images of a batch
_FIELDS = (1, 2, 5, 14)  # fields of colour on a side


def image_batches(image: ImageInput) -> list[dict[str, npt.NDArray[np.float32]]]:
    """Return batches of images as the base takes them, `pixel_values` [B, 3, H, W]; always the same ones."""
    stream = _stream(image)
    return [{"pixel_values": np.stack([next(stream) for _ in range(size)])} for size in _SIZES]


def _stream(image: ImageInput) -> Iterator[npt.NDArray[np.float32]]:
    draws = np.random.default_rng(0)
    mean, std = (np.array(three, np.float32)[:, None, None] for three in (image.mean, image.std))
    number = 0
    while True:
        fields = _FIELDS[number % len(_FIELDS)]
        colours = draws.uniform(0, 255, (3, fields, fields)).astype(np.float32)
        down = np.arange(image.height) * fields // image.height
        right = np.arange(image.width) * fields // image.width
        pixels = colours[:, down][:, :, right] + draws.normal(0, 8, image.shape).astype(np.float32)
        yield (np.clip(pixels, 0, 255) * np.float32(image.scale) - mean) / std
        number += 1
