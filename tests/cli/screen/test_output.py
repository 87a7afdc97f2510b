"""Progress bars count bytes of downloads and items of everything else; tables fold no name of a row."""

from __future__ import annotations

import pytest
from rich.console import Console

from hub.cli.screen.output import grid, progress, table


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


HEADERS = ("JOB", "TASK", "VERSION")
ROW = ("ftjob-b5d8d062261374bc9d18f3ff", "classification of tickets", "a-long-name-of-an-adapter@1")


def test_a_row_in_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    table(HEADERS, [ROW])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(cell in lines[1] for cell in ROW)


def test_a_narrow_terminal_folds_other_columns_than_the_first() -> None:
    console = Console(width=60, force_terminal=True)
    with console.capture() as captured:
        console.print(grid(HEADERS, [ROW]))
    assert ROW[0] in captured.get()
    assert ROW[2] not in captured.get()
