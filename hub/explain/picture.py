"""Writes an image as a base takes it to a PNG file, without an image library."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from hub.api import ImageInput

__all__ = ["png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB8 = (8, 2, 0, 0, 0)  # bits of a channel, colour type, compression, filter, interlace


def png(pixels: npt.NDArray[np.float32], image: ImageInput) -> bytes:
    """Return a file with the colours that normalized pixels [3, H, W] were made from (PNG, W3C 2003)."""
    mean, std = (np.array(three, np.float32)[:, None, None] for three in (image.mean, image.std))
    colours = np.clip(np.rint((pixels * std + mean) / np.float32(image.scale)), 0, 255).astype(np.uint8)
    height, width = colours.shape[1:]
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter, 0: none
    lines[:, 1:] = colours.transpose(1, 2, 0).reshape(height, 3 * width)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", struct.pack(">2I5B", width, height, *_RGB8))
        + _chunk(b"IDAT", zlib.compress(lines.tobytes()))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
