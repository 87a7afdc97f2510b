"""What a base that reads images takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from hub.api.rows import Row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class InputKind(StrEnum):
    """What a task reads, which determines the bases that it can be trained and served on."""

    TEXT = "text"
    IMAGE = "image"


class Resample(StrEnum):
    """The filter that resizes an image, as Pillow names it."""

    NEAREST = "nearest"
    LANCZOS = "lanczos"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a base takes an image: in RGB, resized, cropped at its center, scaled and normalized.

    `resize` and `crop` are (height, width), None where the step is left out; the result is [3, `height`,
    `width`] of (value * `scale` - `mean`) / `std` by channel. `tokens` is the length of its row.
    """

    height: int
    width: int
    tokens: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1 / 255
    resize: tuple[int, int] | None = None
    resample: Resample = Resample.BILINEAR
    crop: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of `Row.pixel_values`."""
        return 3, self.height, self.width

    def row(self, pixel_values: npt.NDArray[np.float32]) -> Row:
        """Return the row of an image [3, height, width]."""
        return Row(input_ids=(0,) * self.tokens, pixel_values=pixel_values)
