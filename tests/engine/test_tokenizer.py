"""A base whose tokenizer cannot be loaded is told, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.engine.tokenizer import load_tokenizer
from hub.errors import BadBase
from tests.support.tiny import tiny_encoder


@pytest.mark.parametrize("text", ["{}", '{"added_tokens": [], "model": {"type": "New"}}', '{"model": 5}'])
def test_a_tokenizer_that_is_invalid_is_told(tmp_path: Path, text: str) -> None:
    base = tiny_encoder(tmp_path / "made")
    (base.path / "tokenizer.json").write_text(text)
    with pytest.raises(BadBase, match="The tokenizer of base 'made' cannot be loaded"):
        load_tokenizer(base)
