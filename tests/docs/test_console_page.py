"""The page on the console: its pictures are there and small."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "console.md"
MAX_BYTES = 60_000


def test_the_pictures_are_there_and_small() -> None:
    shown = re.findall(r"!\[[^\]]+\]\((console/[a-z]+\.png)\)", PAGE.read_text(encoding="utf-8"))
    assert len(shown) >= 3
    assert {PAGE.parent / name for name in shown} == set((PAGE.parent / "console").iterdir())
    for name in shown:
        picture = (PAGE.parent / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < MAX_BYTES, name
