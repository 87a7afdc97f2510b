"""docs/operations.md: its table of settings is complete."""

from __future__ import annotations

import re
from pathlib import Path

from hub.config import (
    BlobSettings,
    CatalogSettings,
    FeedbackSettings,
    JobSettings,
    LimitSettings,
    ServeSettings,
)

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    table = PAGE.partition("## Settings")[2].partition("\n## ")[0]
    rows = "\n".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    named = set(re.findall(r"`(\w+\.\w+)`", rows))
    sections = {
        "serve": ServeSettings,
        "limits": LimitSettings,
        "catalog": CatalogSettings,
        "store": BlobSettings,
        "feedback": FeedbackSettings,
        "jobs": JobSettings,
    }
    assert named == {f"{name}.{key}" for name, one in sections.items() for key in one.model_fields}


def test_the_defaults_it_gives_are_the_defaults() -> None:
    assert re.search(r"`serve\.slots` \| (\d+)", PAGE)[1] == str(ServeSettings().slots)
    assert re.search(r"`serve\.batch_rows` \| (\d+)", PAGE)[1] == str(ServeSettings().batch_rows)
    assert re.search(r"`limits\.body_bytes` \| ([\d,]+)", PAGE)[1] == f"{LimitSettings().body_bytes:,}"
    assert re.search(r"`limits\.queued_rows` \| (\d+)", PAGE)[1] == str(LimitSettings().queued_rows)
