"""docs/security.md: the tests and settings that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

from hub.config import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_holds_a_statement_is_there() -> None:
    named = set(re.findall(r"`((?:tests|plugins)/[\w/.]+)`", PAGE))
    assert len(named) > 20
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_every_setting_is_there() -> None:
    sections = {name: field.annotation for name, field in Settings.model_fields.items() if name != "home"}
    named = set(re.findall(rf"`({'|'.join(sections)})\.(\w+)", PAGE)) - {("catalog", "db")}
    assert len(named) > 9
    assert sorted(name for section, name in named if name not in sections[section].model_fields) == []
