"""The plugin of the page on images does what the hub relies on, from training to serving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.registry import active
from hub.testing.conformance import TaskConformance
from hub.testing.fixtures import hub_home
from hub.testing.round_trip import RoundTripConformance
from tests.support.plugins import installing, write_page

__all__ = ["hub_home"]

EXAMPLES = (
    {"picture": "0000 0990 0990 0000", "label": "square"},
    {"picture": "0900 0900 0900 0900", "label": "line"},
    {"picture": "9999 9009 9009 9999", "label": "square"},
)


@pytest.fixture(scope="module", autouse=True)
def shades(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("page")
    with installing(folder / "site") as install:
        install(write_page("images", folder))
        spec = active.active().tasks()["shades"]
        TestShades.spec = TestTraining.spec = spec
        yield


class TestShades(TaskConformance):
    examples = EXAMPLES


class TestTraining(RoundTripConformance):
    examples = EXAMPLES


def test_the_page_names_the_fields_that_it_explains(shades: None) -> None:
    page = (Path(__file__).parents[2] / "docs" / "plugins" / "images.md").read_text(encoding="utf-8")
    from hub.api import ImageInput

    assert all(f"`{name}`" in page for name in ("resize", "crop", "resample", "scale", "mean", "std"))
    assert {"resize", "crop", "resample", "scale", "mean", "std"} < set(ImageInput.__dataclass_fields__)
