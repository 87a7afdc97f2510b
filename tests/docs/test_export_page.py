"""docs/export.md: its bounds and formats are those there are."""

from __future__ import annotations

import re
from pathlib import Path

from hub.export import parity
from hub.export.formats import Format

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")


def test_every_format_is_in_the_table_and_nothing_else() -> None:
    table = PAGE.partition("| format |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([\w-]+)`", table, re.MULTILINE)) == {form.value for form in Format}


def test_the_bounds_it_gives_are_the_bounds() -> None:
    table = PAGE.partition("| | bound |")[2].partition("\n\n")[0]
    assert f"at most {parity.TOLERANCE:.0e}".replace("e-04", "e-4") in table
    assert f"at least {parity.MIN_INT8_COSINE}" in table
    assert f"at least {parity.MIN_INT8_AGREEMENT * 100:.0f} %" in table
    assert f"leads by {parity.CLEAR_MARGIN:.0f} or more" in PAGE
