# ruff: noqa: TID253 - compares with transformers
"""An image becomes what transformers' own processor makes of it, and nothing else is decoded."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from grafthub_image_classification.pixels import pixel_values
from grafthub_image_classification.source import check_source, image_bytes
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hub.api import BadRequest, ImageInput, InvalidImage, Resample, TooLarge

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIT = ImageInput(32, 40, 81, MEAN, STD, resize=(32, 40), resample=Resample.BILINEAR)
DEIT = ImageInput(32, 32, 66, MEAN, STD, resize=(40, 40), resample=Resample.BICUBIC, crop=(32, 32))
LIMIT = 1_000_000


def photo(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth colours with noise."""
    random = np.random.default_rng(seed)
    down, right = np.mgrid[0:height, 0:width]
    shades = [np.sin(down / 7 + turn) * 80 + np.cos(right / 5 - turn) * 40 + 128 for turn in range(3)]
    values = np.stack(shades, -1) + random.normal(0, 6, (height, width, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)


def file_of(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **settings)
    return written.getvalue()


@pytest.mark.parametrize(("width", "height"), [(64, 48), (31, 57), (40, 32), (7, 5)])
def test_a_vit_gets_what_its_own_processor_makes(width: int, height: int) -> None:
    image = photo(width, height)
    theirs = ViTImageProcessorPil(
        size={"height": 32, "width": 40}, image_mean=MEAN, image_std=STD, resample=2, rescale_factor=1 / 255
    )
    expected = theirs(images=image, return_tensors="np")["pixel_values"][0]
    got = pixel_values(file_of(image), VIT, LIMIT)
    assert (got.shape, got.dtype) == (VIT.shape, np.float32)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(61, 83), (83, 61), (50, 50), (300, 41)])
def test_a_dinov2_gets_the_center_of_an_image_whose_shorter_side_is_resized(width: int, height: int) -> None:
    image = photo(width, height)
    theirs = BitImageProcessorPil(
        size={"shortest_edge": 40},
        crop_size={"height": 28, "width": 28},
        do_center_crop=True,
        resample=3,
        image_mean=MEAN,
        image_std=STD,
    )
    expected = theirs(images=image, return_tensors="np")["pixel_values"][0]
    dinov2 = ImageInput(28, 28, 5, MEAN, STD, resample=Resample.BICUBIC, crop=(28, 28), shortest=40)
    np.testing.assert_allclose(pixel_values(file_of(image), dinov2, LIMIT), expected, atol=1e-6)


def test_a_deit_gets_the_center_that_its_own_processor_crops() -> None:
    image = photo(61, 83)
    theirs = DeiTImageProcessorPil(
        size={"height": 40, "width": 40},
        crop_size={"height": 32, "width": 32},
        do_center_crop=True,
        resample=3,
        image_mean=MEAN,
        image_std=STD,
    )
    expected = theirs(images=image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(pixel_values(file_of(image), DEIT, LIMIT), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "settings"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 98})]
)
def test_all_formats_give_nearly_the_same_image(kind: str, settings: dict[str, Any]) -> None:
    image = photo(64, 48)
    expected = pixel_values(file_of(image), VIT, LIMIT)
    got = pixel_values(file_of(image, kind, **settings), VIT, LIMIT)
    assert np.abs(got - expected).mean() < 0.05


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    got = pixel_values(file_of(photo(64, 48, mode)), VIT, LIMIT)
    assert np.isfinite(got).all()
    assert got.std() > 0.1


def test_grey_of_16_bits_keeps_its_shades() -> None:
    shades = np.linspace(0, 65535, 64 * 48, dtype=np.uint16).reshape(48, 64)
    deep = pixel_values(file_of(Image.fromarray(shades)), VIT, LIMIT)
    plain = pixel_values(file_of(Image.fromarray((shades >> 8).astype(np.uint8))), VIT, LIMIT)
    np.testing.assert_allclose(deep, plain, atol=1e-6)


def test_transparency_is_over_white() -> None:
    clear = pixel_values(file_of(Image.new("RGBA", (40, 32), (0, 0, 0, 0))), VIT, LIMIT)
    white = pixel_values(file_of(Image.new("RGB", (40, 32), "white")), VIT, LIMIT)
    np.testing.assert_array_equal(clear, white)


def test_a_photo_is_turned_as_its_exif_data_says() -> None:
    image, exif = photo(40, 32), Image.Exif()
    exif[0x0112] = 3  # turned upside down
    turned = pixel_values(file_of(image.rotate(180), exif=exif), VIT, LIMIT)
    np.testing.assert_allclose(turned, pixel_values(file_of(image), VIT, LIMIT), atol=1e-6)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than its few bytes hold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(1000))
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(1001, 1000), (50_000, 50_000), (2**31 - 1, 2**31 - 1), (9000, 9)]
)
def test_an_image_that_is_too_large_is_refused_by_its_header(width, height, monkeypatch) -> None:
    monkeypatch.setattr(
        "grafthub_image_classification.pixels._in_rgb", lambda opened: pytest.fail("it was decoded")
    )
    with pytest.raises((TooLarge, InvalidImage)) as caught:
        pixel_values(bomb(width, height), VIT, LIMIT)
    assert caught.value.field == "image"
    assert caught.value.code == ("too_large" if width < 2**31 - 1 else caught.value.code)


def animation(kind: str) -> bytes:
    return file_of(photo(40, 32), kind, save_all=True, append_images=[photo(40, 32, seed=1)])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + bytes(50),
        file_of(photo(40, 32), "GIF"),
        file_of(photo(40, 32), "BMP"),
        file_of(photo(40, 32), "TIFF"),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        file_of(photo(64, 48))[:200],
        file_of(photo(64, 48), "JPEG")[:300],
        file_of(photo(64, 48), "WEBP")[:100],
        bomb(100, 100),
        animation("PNG"),
        animation("WEBP"),
    ],
    ids=["empty", "cut gif", "gif", "bmp", "tiff", "svg", "png", "jpeg", "webp", "short", "apng", "webp 2"],
)
def test_what_is_no_whole_image_of_a_known_format_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage, match="`image`") as caught:
        pixel_values(data, VIT, LIMIT)
    assert (caught.value.code, caught.value.field) == ("invalid_image", "image")


def test_an_image_that_is_not_resized_must_have_the_size_of_the_base() -> None:
    exact = ImageInput(32, 40, 81, MEAN, STD)
    assert pixel_values(file_of(photo(40, 32)), exact, LIMIT).shape == (3, 32, 40)
    with pytest.raises(InvalidImage, match="has 41 x 32 pixels, and the base takes 40 x 32"):
        pixel_values(file_of(photo(41, 32)), exact, LIMIT)


def test_base64_and_data_urls_are_the_same_file() -> None:
    data = file_of(photo(9, 9))
    plain = base64.b64encode(data).decode()
    lines = "\n".join(plain[at : at + 76] for at in range(0, len(plain), 76))
    for text in (plain, plain.rstrip("="), lines, f"data:image/png;base64,{plain}", f"DATA:;base64,{plain}"):
        assert image_bytes(check_source(text), LIMIT) == data


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("http://169.254.169.254/latest", "nothing is fetched"),
        ("HTTPS://example.org/cat.png", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        ("data:image/png,abc", "without base64"),
        ("data:text/html;base64,YWJj", "which is no image"),
        ("data:" + "x" * 10_000, "without base64"),
        ("not base64!", "is not base64"),
        ("\N{CAT FACE}", "is not base64"),
        ("abcde", "is not base64"),
    ],
)
def test_other_texts_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidImage, match=reason) as caught:
        image_bytes(check_source(text), LIMIT)
    assert caught.value.field == "image"


def test_a_file_over_the_limit_is_refused() -> None:
    for size in (101, 1000):
        with pytest.raises(TooLarge, match="the limit is 100") as caught:
            image_bytes(base64.b64encode(bytes(size)).decode(), 100)
        assert (caught.value.code, caught.value.field) == ("too_large", "image")


def test_errors_are_of_the_request() -> None:
    assert issubclass(InvalidImage, BadRequest)
