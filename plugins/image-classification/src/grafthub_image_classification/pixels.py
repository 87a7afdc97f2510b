"""Decodes an image file within limits, and makes of it what a base takes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from grafthub_image_classification.source import invalid, too_large
from hub.api import HubError, ImageInput

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["pixel_values"]

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_RATIO = 100  # of the longer side to the shorter one
_ANIMATED = ("PNG", "WEBP")  # a photo of a phone may be a JPEG with a preview as its second frame
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16")


def pixel_values(data: bytes, image: ImageInput, max_pixels: int) -> npt.NDArray[np.float32]:
    """Return the pixels [3, H, W] of an image file as a base takes them.

    The size is checked by the header, before anything is decoded.

    Raises:
        InvalidImage: it is no PNG, JPEG or WebP, is damaged, or has several frames.
        TooLarge: it has more than `max_pixels`, or a side that is far longer than the other.
    """
    return _normalized(_resized(_decoded(data, max_pixels), image), image)


def _decoded(data: bytes, max_pixels: int) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_header(opened, max_pixels)
            return _in_rgb(opened)
    except HubError:
        raise
    except UnidentifiedImageError:
        raise invalid("is not a PNG, JPEG or WebP file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # by the header, too
        raise too_large(f"has too many pixels; the limit is {max_pixels:,}. Send a smaller image.") from None
    except Exception:  # Pillow 12.3 has no class of its own for damaged files
        raise invalid("cannot be decoded: the file is damaged or cut off.") from None


def _check_header(opened: Image, max_pixels: int) -> None:
    width, height = opened.size
    if width * height > max_pixels:
        raise too_large(
            f"has {width} x {height} pixels; the limit is {max_pixels:,} in all. Send a smaller image."
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise too_large(f"has {width} x {height} pixels: a side is over {MAX_RATIO} times the other.")
    if opened.format in _ANIMATED and getattr(opened, "n_frames", 1) > 1:
        raise invalid("is an animation. Send one frame.")
    if opened.mode not in _MODES:
        raise invalid(f"has pixels of mode {opened.mode[:20]}, which is not read. Save it in RGB.")


def _in_rgb(opened: Image) -> Image:
    """Decode and convert to RGB, turned as its EXIF data says; transparency is over white."""
    from PIL import Image, ImageOps

    # Pillow reduces a JPEG while decoding only on request; everything else is decoded whole.
    turned = ImageOps.exif_transpose(opened)
    if turned.mode == "I;16":  # 16 bits of grey, which Pillow would cut off at 255
        grey = (np.asarray(turned) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if "A" in turned.mode or "transparency" in turned.info:
        over = turned.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(white, over).convert("RGB")
    return turned.convert("RGB")


def _resized(rgb: Image, image: ImageInput) -> Image:
    from PIL.Image import Resampling

    if size := _new_size(rgb, image):
        height, width = size
        rgb = rgb.resize((width, height), Resampling[image.resample.name])
    if image.crop:
        height, width = image.crop
        left, top = (rgb.width - width) // 2, (rgb.height - height) // 2
        rgb = rgb.crop((left, top, left + width, top + height))  # in transformers, too, the odd row is below
    if (rgb.height, rgb.width) != (image.height, image.width):
        raise invalid(
            f"has {rgb.width} x {rgb.height} pixels, and the base takes {image.width} x {image.height}."
        )
    return rgb


def _new_size(rgb: Image, image: ImageInput) -> tuple[int, int] | None:
    """Return height and width to resize to; None to leave out that step."""
    if image.shortest is None:
        return image.resize
    shorter, longer = sorted((rgb.width, rgb.height))
    longest = int(image.shortest * longer / shorter)  # truncated, as in transformers
    return (longest, image.shortest) if rgb.height > rgb.width else (image.shortest, longest)


def _normalized(rgb: Image, image: ImageInput) -> npt.NDArray[np.float32]:
    values = np.asarray(rgb, np.float32).transpose(2, 0, 1) * np.float32(image.scale)
    mean, std = (np.array(three, np.float32)[:, None, None] for three in (image.mean, image.std))
    return np.ascontiguousarray((values - mean) / std)
