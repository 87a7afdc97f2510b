"""The request, the response, the options of a recipe, and the limits on images."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from grafthub_image_classification.source import MAX_CHARS, check_source
from hub.api import Model

__all__ = [
    "ImageClassificationOptions",
    "ImageClassificationRequest",
    "ImageClassificationResponse",
    "ImageLabel",
    "ImageLimits",
]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
ImageSource = Annotated[
    str,
    AfterValidator(check_source),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_CHARS,
            "contentEncoding": "base64",
            "contentMediaType": "image/*",
        }
    ),
]
# A PNG of 8 x 8 pixels in four colours.
EXAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAJUlEQVR42mM8oaHBAAMJFSJwNhMDDkC6BKOGzQk458SC"
    "DlrYAQCkzgUvoNP7swAAAABJRU5ErkJggg=="
)


class ImageClassificationRequest(Model):
    """An image to label."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": EXAMPLE}]})

    image: ImageSource = Field(
        description="The image: a PNG, JPEG or WebP file in base64, or a data URL. Nothing is fetched."
    )
    top_k: int | None = Field(None, ge=1, description="Maximum entries in `scores`; default: all labels.")


class ImageLabel(Model):
    """A label with its probability."""

    label: str
    score: Probability


class ImageClassificationResponse(Model):
    """The most probable label, and the probability of every label."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"label": "cat", "score": 0.94, "scores": {"cat": 0.94, "dog": 0.06}}],
        }
    )

    label: str = Field(description="The most probable label.")
    score: Probability = Field(description="Probability of `label`.")
    scores: dict[str, Probability] = Field(description="Probability of each label, the best first; sum 1.")


class ImageClassificationOptions(Model):
    """Options of a recipe for `image-classification`."""

    temperature: float = Field(1.0, gt=0.0, description="Divisor of the scores before softmax.")


class ImageLimits(Model):
    """Limits on an image, checked before it is decoded."""

    max_bytes: int = Field(5_000_000, gt=0, description="Maximum size of an image file, in bytes.")
    max_pixels: int = Field(
        25_000_000, gt=0, description="Maximum pixels of an image; decoded, each takes 3 bytes or more."
    )
