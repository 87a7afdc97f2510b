"""Images as training data: a folder for each label, and a table that names files below its folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.api import BadData
from hub.data.examples import Loaded, load_examples
from hub.data.read import image_cells
from hub.recipe.recipe import load_recipe
from hub.registry.active import active
from tests.support.images import image_file, one_colour, write_folders

Load = Callable[[str], Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the rows of a source in the test's folder."""

    def load(source: str) -> Loaded:
        recipe = {"name": "x", "task": "image-classification", "base": "vit", "data": {"source": source}}
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
        found = load_recipe(tmp_path / "recipe.yaml")
        return load_examples(found, "source", active().task(found.task).task, tmp_path / "cache")

    return load


def test_a_folder_of_images_has_a_label_for_each_subfolder(load: Load, tmp_path: Path) -> None:
    write_folders(tmp_path / "photos", each=3)
    (tmp_path / "photos" / "cold" / "notes.md").write_text("no image")
    (tmp_path / "photos" / ".cache").mkdir()
    (tmp_path / "photos" / ".cache" / "9.png").write_bytes(b"x")
    loaded = load("photos")
    found = [(item.source, item.example["label"]) for item in loaded.items]
    names = [f"{label}/{name}" for label in ("cold", "warm") for name in ("0.png", "1.jpg", "2.webp")]
    assert found == [(name, name.partition("/")[0]) for name in names]
    first = loaded.items[0].example["image"]
    assert base64.b64decode(first) == (tmp_path / "photos/cold/0.png").read_bytes()
    assert not loaded.invalid


def test_a_folder_with_images_and_texts_is_refused(load: Load, tmp_path: Path) -> None:
    write_folders(tmp_path / "photos", each=1)
    (tmp_path / "photos" / "warm" / "1.txt").write_text("a text")
    with pytest.raises(
        BadData, match=r"\.txt files in subfolders and \.png, \.jpg, \.jpeg, \.webp files in subfolders"
    ):
        load("photos")


def test_a_table_names_files_below_its_folder_or_has_them_in_base64(load: Load, tmp_path: Path) -> None:
    (tmp_path / "data" / "shots").mkdir(parents=True)
    (tmp_path / "data" / "shots" / "a.png").write_bytes(image_file("red"))
    blue = one_colour("blue")
    lines = ["image,label", "shots/a.png,warm", f"{blue},cold", f'"data:image/png;base64,{blue}",cold']
    (tmp_path / "data" / "table.csv").write_text("\n".join(lines))
    loaded = load("data/table.csv")
    images = [item.example["image"] for item in loaded.items]
    assert images == [one_colour("red"), blue, f"data:image/png;base64,{blue}"]
    assert not loaded.invalid


def test_a_path_out_of_the_folder_is_an_invalid_row(load: Load, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(image_cells, "MAX_IMAGE_BYTES", 1000)
    (tmp_path / "secret.png").write_bytes(image_file("red"))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "large.png").write_bytes(bytes(1001))
    (folder / "folder.png").mkdir()
    cells = {
        "../secret.png": "leads out of the folder",
        str(tmp_path / "secret.png"): "leads out of the folder",
        "link.png": "leads out of the folder",
        "sub/../../secret.png": "leads out of the folder",
        "C:\\secret.png": "leads out of the folder",
        "https://example.org/a.png": "is an address, and nothing is fetched",
        "missing.png": "cannot be read: No such file",
        "folder.png": "cannot be read: is a folder",
        "large.png": "is a file of more than 1,000 bytes",
        "": "image is empty",
    }
    rows = "".join(f"{json.dumps({'image': cell, 'label': 'x'})}\n" for cell in cells)
    (folder / "rows.jsonl").write_text(rows)
    loaded = load("data/rows.jsonl")
    assert not loaded.items
    for row, (cell, reason) in zip(loaded.invalid, cells.items(), strict=True):
        assert reason in row.reason, cell
        assert not cell or cell not in row.reason
