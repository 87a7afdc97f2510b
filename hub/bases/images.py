"""Reads how a base takes images: the settings of its image processor, and the size of its patches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub.api import ImageInput, Resample
from hub.bases.fingerprint import read_json
from hub.errors import BadBase

__all__ = ["PROCESSOR_FILE", "VISION", "image_input"]

PROCESSOR_FILE = "preprocessor_config.json"
VISION: Mapping[str, int] = {"vit": 1, "deit": 2}
"""The tokens beside those of the patches, by model type."""

MAX_SIDE = 2048  # pixels of a side of what a model reads; those in use have 224 to 512
MAX_TOKENS = 4096
_CHANNELS = 3
_FILTERS = {
    0: Resample.NEAREST,
    1: Resample.LANCZOS,
    2: Resample.BILINEAR,
    3: Resample.BICUBIC,
    4: Resample.BOX,
    5: Resample.HAMMING,
}
# Keys that name the processor or the library, or that change nothing for one image as an array.
_HARMLESS = frozenset(
    {
        "data_format",
        "default_to_square",
        "device",
        "disable_grouping",
        "do_convert_rgb",
        "feature_extractor_type",
        "image_processor_type",
        "input_data_format",
        "pad_size",
        "processor_class",
        "return_tensors",
    }
)
_READ = frozenset(
    {
        "crop_size",
        "do_center_crop",
        "do_normalize",
        "do_rescale",
        "do_resize",
        "image_mean",
        "image_std",
        "resample",
        "rescale_factor",
        "size",
    }
)


def image_input(folder: Path, config: Mapping[str, Any], model_type: str) -> ImageInput:
    """Return how the model in `folder` with this config.json takes an image.

    Raises:
        BadBase: preprocessor_config.json is missing, has a setting that is not known here, or makes images of
            another size than the model takes.
    """
    path = folder / PROCESSOR_FILE
    if not path.is_file():
        raise BadBase(
            f"{folder} has no {PROCESSOR_FILE}: a base that reads images comes with the settings of its "
            "image processor."
        )
    return _Processor(path, read_json(path)).image(config, model_type)


class _Processor:
    """The settings of an image processor, each checked when it is read."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self._path = path
        self._values = values

    def image(self, config: Mapping[str, Any], model_type: str) -> ImageInput:
        for key in sorted(self._values.keys() - _READ - _HARMLESS):
            if self._values[key] not in (None, False):
                raise self._bad(f"the setting {key[:80]!r} is not known here")
        resize = self._size("size") if self._flag("do_resize", True) else None
        crop = self._size("crop_size") if self._flag("do_center_crop", False) else None
        height, width, tokens = _model_size(config, model_type, self._path.parent)
        if (made := crop or resize or (height, width)) != (height, width):
            raise self._bad(
                f"it makes images of {made[0]} x {made[1]} and the model takes {height} x {width}"
            )
        normalizes = self._flag("do_normalize", True)
        return ImageInput(
            height=height,
            width=width,
            tokens=tokens,
            mean=self._three("image_mean") if normalizes else (0.0, 0.0, 0.0),
            std=self._three("image_std", above=0.0) if normalizes else (1.0, 1.0, 1.0),
            scale=self._scale() if self._flag("do_rescale", True) else 1.0,
            resize=resize,
            resample=self._filter() if resize else Resample.BILINEAR,
            crop=crop,
        )

    def _flag(self, key: str, default: bool) -> bool:
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._bad(f"{key} is {str(value)[:80]!r}, not true or false")
        return value

    def _size(self, key: str) -> tuple[int, int]:
        """Read a number, which is that of both sides, or an object with height and width."""
        value = self._values.get(key)
        sides = [value, value]
        if isinstance(value, Mapping) and value.keys() == {"height", "width"}:
            sides = [value["height"], value["width"]]
        height, width = map(_side, sides)
        if height is None or width is None:
            raise self._bad(
                f"{key} is {str(value)[:80]}; it must be a number or have a height and a width, from 1 to "
                f"{MAX_SIDE:,} pixels"
            )
        return height, width

    def _three(self, key: str, above: float = -math.inf) -> tuple[float, float, float]:
        value = self._values.get(key)
        numbers = value if isinstance(value, list) and len(value) == _CHANNELS else []
        if not numbers or not all(_is_number(one) and one > above for one in numbers):
            raise self._bad(f"{key} is {str(value)[:80]}; it must be three numbers, one for each channel")
        red, green, blue = map(float, numbers)
        return red, green, blue

    def _scale(self) -> float:
        value = self._values.get("rescale_factor", 1 / 255)
        if not _is_number(value) or value <= 0:
            raise self._bad(f"rescale_factor is {str(value)[:80]}, not a positive number")
        return float(value)

    def _filter(self) -> Resample:
        value = self._values.get("resample")
        if isinstance(value, bool) or not isinstance(value, int) or value not in _FILTERS:
            raise self._bad(f"resample is {str(value)[:80]}; it must be the number of a filter of Pillow")
        return _FILTERS[value]

    def _bad(self, reason: str) -> BadBase:
        return BadBase(f"{self._path} cannot be used: {reason}.")


def _model_size(config: Mapping[str, Any], model_type: str, folder: Path) -> tuple[int, int, int]:
    """Return height, width and number of tokens of an image; transformers' defaults where none are given."""
    image, patch = (
        _pair(config.get(key, default)) for key, default in (("image_size", 224), ("patch_size", 16))
    )
    channels = config.get("num_channels", _CHANNELS)
    if image is None or patch is None or channels != _CHANNELS:
        raise BadBase(
            f"{folder / 'config.json'} describes no image of {_CHANNELS} channels and at most {MAX_SIDE:,} "
            "pixels a side (image_size, patch_size, num_channels)."
        )
    tokens = (image[0] // patch[0]) * (image[1] // patch[1]) + VISION[model_type]
    if not VISION[model_type] < tokens <= MAX_TOKENS:
        raise BadBase(
            f"{folder / 'config.json'} divides an image into {tokens - VISION[model_type]:,} patches; from 1 "
            f"to {MAX_TOKENS - VISION[model_type]:,} are supported."
        )
    return image[0], image[1], tokens


def _pair(value: Any) -> tuple[int, int] | None:
    sides = value if isinstance(value, list) and len(value) == 2 else [value, value]
    height, width = map(_side, sides)
    return None if height is None or width is None else (height, width)


def _side(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 1 <= value <= MAX_SIDE else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
