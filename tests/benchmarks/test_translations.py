"""What counts as a placeholder that a translation kept."""

from __future__ import annotations

import pytest

from benchmarks.translations import placeholders_kept


@pytest.mark.parametrize(
    ("source", "target", "kept"),
    [
        ("%(count)d items of %(name)s", "%(name)s : %(count)d objets", 1),
        ("%(count)d items of %(name)s", "%(nom)s : %(count)d objets", 0.5),
        ("Page {0} of {total}", "Page {0} sur {total}", 1),
        ("%s of %s", "%s", 0.5),
        ("100 % of it, 5%.", "Tout.", 1),
        ("No placeholder", "%s", 1),
    ],
)
def test_placeholders_count_as_often_as_the_source_has_them(source: str, target: str, kept: float) -> None:
    assert placeholders_kept([source], [target]) == kept


def test_the_share_is_over_all_pairs() -> None:
    assert placeholders_kept(["%s", "%s %s %s"], ["", "%s %s %s"]) == 0.75
