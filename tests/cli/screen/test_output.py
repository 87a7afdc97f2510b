"""Progress bars: downloads count bytes, everything else counts items."""

from __future__ import annotations

import pytest

from hub.cli.screen.output import progress


@pytest.mark.parametrize(
    ("stage", "shown"), [("download minilm", "download minilm, MB"), ("read rows.csv", "2000000/2000000")]
)
def test_only_downloads_are_shown_in_megabytes(
    stage: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress() as bars:
        bars(stage, 2_000_000, 2_000_000)
    printed = capsys.readouterr().err
    assert shown in printed
    assert (", MB" in printed) == stage.startswith("download")
