"""The scripts and styles of the console: as their packages have them, and kept by browsers."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from hub.console.assets import STATIC, asset_path
from tests.console.conftest import Browser

VENDORED = json.loads((STATIC / "vendor.json").read_text(encoding="utf-8"))
OURS = {"console.css", "console.js", "icon.svg", "vendor.json"}


@pytest.mark.parametrize("name", sorted(VENDORED))
def test_a_vendored_file_is_that_of_its_package(name: str) -> None:
    known = VENDORED[name]
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == known["sha256"]
    assert re.fullmatch(r"npm:[a-z0-9.]+@[0-9.]+", known["package"])
    assert known["license"] in ("0BSD", "MIT")


def test_every_file_of_others_is_listed_with_its_licence() -> None:
    files = {file.name for file in STATIC.iterdir()}
    licences = {name for name in files if name.endswith(".LICENSE")}
    assert files - OURS - licences == set(VENDORED)
    for name in (name for name, known in VENDORED.items() if known["license"] == "MIT"):
        assert f"{name.partition('.')[0]}.LICENSE" in licences  # which asks to be kept


def test_an_asset_is_kept_for_good_and_needs_no_key(browser: Browser) -> None:
    for name in ("htmx.min.js", "console.css", "icon.svg"):
        reply = browser.get(asset_path(name))
        assert reply.status_code == 200
        assert "immutable" in reply.headers["cache-control"]
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert browser.get("/console/assets/000000000000/console.css").status_code == 404
    assert browser.get(asset_path("console.css").replace("console.css", "vendor.json")).status_code == 404
