"""Attribution of scores to the patches of an image."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch  # noqa: TID253
from PIL import Image

from hub.api import AdapterInfo, HeadKind, ImageInput
from hub.bases.base import Base
from hub.engine.tokenizer import load_tokenizer
from hub.errors import BadPlugin, BadRequest, NotFound
from hub.explain.attribution import ExplainOptions, explain_image
from hub.explain.explanation import ImageExplanation, PatchGrid
from hub.explain.page import image_page
from hub.explain.patches import PatchScore, grid_of
from hub.explain.picture import png
from tests.support.plugins import Install, plugin_of, write_page
from tests.support.tiny import VISION, peft_model, tiny_adapter, tiny_vision

LABELS = ("plain", "spot")
CHOSEN = ExplainOptions()
GRIDS = {"vit": (4, 5), "deit": (4, 4), "dinov2": (4, 4)}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_vision(tmp_path_factory.mktemp("bases") / "vit")


def image_of(base: Base) -> ImageInput:
    assert base.image
    return base.image


def noise(image: ImageInput, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(image.shape).astype(np.float32)


def explained(base: Base, folder: Path, options: ExplainOptions = CHOSEN, rows: int = 1) -> ImageExplanation:
    image = image_of(base)
    adapter = tiny_adapter(base, folder / "adapter", kind=HeadKind.SEQUENCE, labels=LABELS)
    model, tokenizer = peft_model(base, adapter, HeadKind.SEQUENCE, 2), load_tokenizer(base)
    asked = [image.row(noise(image, seed)) for seed in range(rows)]
    return explain_image(model, tokenizer, AdapterInfo("demo", 3, LABELS), image, asked, options)


@pytest.mark.parametrize("model_type", sorted(VISION))
def test_gradients_of_patches_sum_up_to_the_difference_of_the_scores(model_type: str, tmp_path: Path) -> None:
    found = explained(tiny_vision(tmp_path / "base", model_type), tmp_path)
    rows, columns = GRIDS[model_type]
    assert found.grid == PatchGrid(rows, columns, 4, 4, 16, 20 if model_type == "vit" else 16)
    assert [len(row) for row in found.patches] == [columns] * rows
    assert found.baseline_score is not None
    difference = found.score - found.baseline_score
    assert abs(difference) > 1e-3
    assert float(np.sum(found.patches)) == pytest.approx(difference, abs=0.03)


@pytest.mark.parametrize("model_type", sorted(VISION))
def test_attention_is_shared_out_over_the_patches(model_type: str, tmp_path: Path) -> None:
    base = tiny_vision(tmp_path / "base", model_type)
    found = explained(base, tmp_path, ExplainOptions("attention"))
    assert float(np.sum(found.patches)) == pytest.approx(1)
    assert float(np.min(found.patches)) >= 0
    assert np.shape(found.patches) == GRIDS[model_type]
    assert found.baseline_score is found.convergence_delta is found.steps is None


@pytest.mark.parametrize("method", ["gradients", "occlusion"])
def test_the_patch_that_decides_has_the_largest_score(
    vit: Base, tmp_path: Path, install: Install, method: str
) -> None:
    """`occlusion` is the example of docs/plugins/explainers.md, which knows no images."""
    install(write_page("explainers", tmp_path))
    image, draws = image_of(vit), np.random.default_rng(1)
    adapter = tiny_adapter(vit, tmp_path / "adapter", kind=HeadKind.SEQUENCE, labels=LABELS)
    model, tokenizer = peft_model(vit, adapter, HeadKind.SEQUENCE, 2), load_tokenizer(vit)
    pixels = 0.1 * draws.standard_normal((40, *image.shape)).astype(np.float32)
    labels = torch.arange(40) % 2
    for number in range(1, 40, 2):
        mark(pixels[number], number % 4, number % 5)
    optimizer = torch.optim.Adam(model.requires_grad_(True).parameters(), lr=0.003)
    for _ in range(60):
        logits = model(pixel_values=torch.from_numpy(pixels)).logits
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    asked = 0.1 * draws.standard_normal(image.shape).astype(np.float32)
    mark(asked, 2, 3)
    info, options = AdapterInfo("demo", 1, LABELS), ExplainOptions(method)
    found = explain_image(model, tokenizer, info, image, [image.row(asked)], options)
    assert found.target == "spot"
    assert np.unravel_index(np.argmax(found.patches), (4, 5)) == (2, 3)


def mark(pixels: np.ndarray, row: int, column: int) -> None:
    """Make a patch of an image [3, H, W] bright."""
    pixels[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 3


def test_a_label_can_be_asked_for_and_a_word_cannot(vit: Base, tmp_path: Path) -> None:
    plain = explained(vit, tmp_path, ExplainOptions("attention", "plain"))
    spot = explained(vit, tmp_path, ExplainOptions("attention", "spot"))
    chosen = explained(vit, tmp_path, ExplainOptions("attention"))
    assert (plain.target, spot.target) == ("plain", "spot")
    assert chosen.score == max(plain.score, spot.score)
    with pytest.raises(NotFound, match="plain, spot"):
        explained(vit, tmp_path, ExplainOptions(target="cat"))
    with pytest.raises(BadRequest, match="Omit the word"):
        explained(vit, tmp_path, ExplainOptions(word="cat"))


def test_of_several_images_the_one_with_the_highest_score_is_explained(vit: Base, tmp_path: Path) -> None:
    found = explained(vit, tmp_path, ExplainOptions("attention"), rows=4)
    assert found.rows == 4
    assert found.picture == png(noise(image_of(vit), found.row), image_of(vit))


def test_as_json_there_is_a_list_for_each_row_of_patches(vit: Base, tmp_path: Path) -> None:
    found = explained(vit, tmp_path)
    value = json.loads(json.dumps(found.to_json()))
    assert value["grid"] == {
        "rows": 4,
        "columns": 5,
        "patch_height": 4,
        "patch_width": 4,
        "height": 16,
        "width": 20,
    }
    assert value["patches"] == [list(row) for row in found.patches]
    assert "picture" not in value


def test_the_page_draws_each_patch_over_the_picture(vit: Base, tmp_path: Path) -> None:
    page = image_page(explained(vit, tmp_path))
    assert page.count("<span title=") == 4 * 5
    assert "data:image/png;base64," in page and "http" not in page
    assert "masked image" in page


def test_the_picture_has_the_colours_that_the_pixels_were_made_from(vit: Base) -> None:
    image = image_of(vit)
    colours = np.random.default_rng(0).integers(0, 256, (image.height, image.width, 3), np.uint8)
    scaled = colours.transpose(2, 0, 1) * np.float32(image.scale)
    mean, std = (np.array(three, np.float32)[:, None, None] for three in (image.mean, image.std))
    with Image.open(io.BytesIO(png((scaled - mean) / std, image))) as opened:
        assert opened.format == "PNG"
        np.testing.assert_array_equal(np.asarray(opened), colours)


def test_a_hidden_patch_is_grey_and_what_fills_no_patch_stays(vit: Base, tmp_path: Path) -> None:
    image = replace(image_of(vit), height=18, width=21, mean=(0.5, 0.5, 0.0), std=(1.0, 0.5, 0.5))
    grid = grid_of(SimpleNamespace(patch_size=(4, 4)), image)
    assert (grid.rows, grid.columns) == (4, 5)
    shown: list[torch.Tensor] = []

    def model(pixel_values: torch.Tensor) -> SimpleNamespace:
        shown.append(pixel_values)
        return SimpleNamespace(logits=pixel_values.sum((1, 2, 3))[:, None])

    model.device = "cpu"  # type: ignore[attr-defined]
    pixels = noise(image)
    score = PatchScore(model, pixels, image, grid, 0)  # type: ignore[arg-type]
    ids = score.ids.clone()
    ids[0, 7] = score.baseline[7]  # the second row, the third column
    score(ids)
    (made,) = shown
    expected = torch.from_numpy(pixels)[None].clone()
    for channel, grey in enumerate((0.0, 0.0, 1.0)):
        expected[0, channel, 4:8, 8:12] = grey
    assert torch.allclose(made, expected, atol=1e-6)


def test_an_explainer_that_returns_other_numbers_than_patches_is_named(
    install: Install, vit: Base, tmp_path: Path
) -> None:
    code = """
@hookimpl
def hub_explainers():
    yield ExplainerSpec("bad", "Explains.", "made:Bad")

class Bad(Explainer):
    def attribute(self, score):
        return TokenScores([1.0])
"""
    install(plugin_of(tmp_path, code))
    with pytest.raises(BadPlugin, match="Explainer 'bad' returned 1 scores for 20 tokens"):
        explained(vit, tmp_path, ExplainOptions("bad"))
