"""The image-classification task does what the hub relies on."""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import ClassVar

from grafthub_image_classification import hub_tasks
from PIL import Image

from hub.testing.conformance import TaskConformance

(SPEC,) = hub_tasks()


@cache
def square(colour: str, kind: str = "PNG") -> str:
    """An image of one colour, in base64."""
    written = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(written, kind)
    return base64.b64encode(written.getvalue()).decode()


class TestColours(TaskConformance):
    spec = SPEC
    examples = (
        {"image": square("red"), "label": "warm"},
        {"image": f"data:image/jpeg;base64,{square('orange', 'JPEG')}", "label": "warm"},
        {"image": square("blue", "WEBP"), "label": "cold"},
    )
    options: ClassVar = {"temperature": 1.5}
