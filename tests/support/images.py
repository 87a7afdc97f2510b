"""Image files for tests."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

__all__ = ["image_file", "image_of", "one_colour", "write_folders"]

SIDE = 20  # pixels


def image_file(colour: str | tuple[int, int, int], kind: str = "PNG") -> bytes:
    """Return a file with an image of one colour."""
    return image_of(Image.new("RGB", (SIDE, SIDE), colour), kind)


def image_of(image: Image.Image, kind: str = "PNG") -> bytes:
    """Return the file of an image."""
    written = io.BytesIO()
    image.save(written, kind)
    return written.getvalue()


def one_colour(colour: str | tuple[int, int, int], kind: str = "PNG") -> str:
    """Return an image of one colour, in base64."""
    return base64.b64encode(image_file(colour, kind)).decode()


def write_folders(folder: Path, each: int) -> Path:
    """Write a folder `warm` and a folder `cold`, each with so many different images of such a colour."""
    for label in ("warm", "cold"):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            shade = (200 - 3 * number, 40 + number, 10 + 2 * number)
            colour = shade if label == "warm" else shade[::-1]
            kind = ("PNG", "JPEG", "WEBP")[number % 3]
            name = f"{number}.{'jpg' if kind == 'JPEG' else kind.lower()}"
            (folder / label / name).write_bytes(image_file(colour, kind))
    return folder
