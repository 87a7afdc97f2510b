"""How a base takes images is read from its files strictly: what is not known is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.api import ImageInput, Resample
from hub.bases.base import BaseKind
from hub.bases.cache import Bases
from hub.bases.images import image_input
from hub.bases.inspect import inspect_folder
from hub.errors import BadBase
from tests.support.tiny_bases import tiny_vision

CONFIG = {"model_type": "vit", "image_size": 224, "patch_size": 16, "num_channels": 3}
HALVES = [0.5, 0.5, 0.5]
# As published: google/vit-base-patch16-224-in21k, its earlier form, and facebook/deit-tiny-patch16-224.
VIT = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": HALVES,
    "image_processor_type": "ViTImageProcessor",
    "image_std": HALVES,
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 224, "width": 224},
}
EARLIER = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": HALVES,
    "image_std": HALVES,
    "resample": 2,
    "size": 224,
}
DEIT = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "DeiTFeatureExtractor",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "size": 256,
}


def read(folder: Path, settings: dict[str, Any], **config: Any) -> ImageInput:
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    found = CONFIG | config
    return image_input(folder, found, found["model_type"])


@pytest.mark.parametrize("settings", [VIT, EARLIER])
def test_the_settings_of_a_vit_are_read_in_both_forms(settings, tmp_path) -> None:
    halves = (0.5, 0.5, 0.5)
    assert read(tmp_path, settings) == ImageInput(
        224, 224, 197, halves, halves, scale=1 / 255, resize=(224, 224), resample=Resample.BILINEAR
    )


def test_a_deit_crops_and_has_a_token_more(tmp_path) -> None:
    found = read(tmp_path, DEIT, model_type="deit")
    assert (found.resize, found.crop, found.tokens) == ((256, 256), (224, 224), 198)
    assert (found.mean, found.resample) == ((0.485, 0.456, 0.406), Resample.BICUBIC)


def test_a_dinov2_resizes_the_shorter_side_and_takes_what_its_patches_divide(tmp_path) -> None:
    settings = DEIT | {"size": {"shortest_edge": 256}}
    found = read(tmp_path, settings, model_type="dinov2", image_size=518, patch_size=14)
    assert (found.resize, found.shortest, found.crop, found.tokens) == (None, 256, (224, 224), 257)
    with pytest.raises(BadBase, match="makes images of 220 x 220 and the model takes 518 x 518"):
        read(tmp_path, settings | {"crop_size": 220}, model_type="dinov2", image_size=518, patch_size=14)


def test_steps_that_are_off_change_nothing(tmp_path) -> None:
    off = {"do_resize": False, "do_rescale": False, "do_normalize": False, "size": {"shortest_edge": 9}}
    found = read(tmp_path, off)
    assert (found.resize, found.scale) == (None, 1.0)
    assert (found.mean, found.std) == ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"size": {"shortest_edge": 224}}, "nothing is cropped"),
        ({"size": {"shortest_edge": 0}}, "the shortest_edge must have"),
        ({"size": {"longest_edge": 224}}, "size is"),
        ({"size": 200, "do_center_crop": True, "crop_size": 224}, "crop_size is larger than size"),
        ({"size": 0}, "size is"),
        ({"size": True}, "size is"),
        ({"size": 100_000}, "size is"),
        ({"size": 256}, "makes images of 256 x 256 and the model takes 224 x 224"),
        ({"image_mean": [0.5]}, "three numbers"),
        ({"image_mean": [0.5, 0.5, "x"]}, "three numbers"),
        ({"image_std": [0.5, 0.5, 0]}, "three numbers"),
        ({"image_std": [0.5, 0.5, float("inf")]}, "Infinity|three numbers"),
        ({"resample": None}, "filter of Pillow"),
        ({"resample": 9}, "filter of Pillow"),
        ({"resample": True}, "filter of Pillow"),
        ({"rescale_factor": -1}, "not a positive number"),
        ({"do_resize": "yes"}, "not true or false"),
        ({"do_pad": True}, "'do_pad' is not known"),
        ({"do_center_crop": True}, "crop_size is"),
    ],
)
def test_other_settings_are_refused(settings, reason, tmp_path) -> None:
    with pytest.raises(BadBase, match=reason):
        read(tmp_path, VIT | settings)


@pytest.mark.parametrize(
    "config",
    [
        {"num_channels": 1},
        {"image_size": "large"},
        {"image_size": [224]},
        {"image_size": 100_000},
        {"patch_size": 225},
        {"image_size": 224, "patch_size": 1},
    ],
)
def test_a_model_of_another_size_is_refused(config, tmp_path) -> None:
    with pytest.raises(BadBase, match=r"config\.json"):
        read(tmp_path, VIT, **config)


def test_a_base_without_the_settings_of_its_processor_is_refused(tmp_path) -> None:
    with pytest.raises(BadBase, match=r"has no preprocessor_config\.json"):
        image_input(tmp_path, CONFIG, "vit")


def test_a_pulled_base_is_of_kind_vision_and_remembers_how_it_takes_images(tmp_path) -> None:
    made = tiny_vision(tmp_path / "vit")
    bases = Bases(tmp_path / "home")
    pulled = bases.pull(str(made.path), "vit")
    assert pulled == bases.get("vit")
    assert (pulled.kind, pulled.image, pulled.max_length) == (BaseKind.VISION, made.image, 21)
    assert pulled.fingerprint == made.fingerprint
    assert (pulled.path / "preprocessor_config.json").is_file()
    assert inspect_folder(pulled.path).image == made.image
    assert [base.name for base in bases.list()] == ["vit"]
