"""docs/operations.md: its table of settings is complete."""

from __future__ import annotations

import re
from pathlib import Path

from hub.config import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
SERVE, LIMITS = (Settings.model_fields[name].default for name in ("serve", "limits"))


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    table = PAGE.partition("## Settings")[2].partition("\n## ")[0]
    rows = "\n".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    named = set(re.findall(r"`(\w+\.\w+)`", rows))
    fields = Settings.model_fields
    sections = {name: fields[name].annotation.model_fields for name in fields.keys() - {"home", "plugins"}}
    assert named == {f"{name}.{key}" for name, keys in sections.items() for key in keys}


def test_the_defaults_it_gives_are_the_defaults() -> None:
    assert re.search(r"`serve\.slots` \| (\d+)", PAGE)[1] == str(SERVE.slots)
    assert re.search(r"`serve\.batch_rows` \| (\d+)", PAGE)[1] == str(SERVE.batch_rows)
    assert re.search(r"`limits\.body_bytes` \| ([\d,]+)", PAGE)[1] == f"{LIMITS.body_bytes:,}"
    assert re.search(r"`limits\.queued_rows` \| (\d+)", PAGE)[1] == str(LIMITS.queued_rows)
