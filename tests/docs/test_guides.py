"""The how-to pages: their commands run in order, on tiny bases, as far as they need no server."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.api import HeadKind
from hub.cli.main import app
from tests.support.tiny import tiny_adapter, tiny_decoder, tiny_encoder

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
# The first two end with a server; the third is slow, and the guide for PEFT has one like it.
NOT_RUN = ("hub serve", "hub deployments --watch", "hub evaluate mood@3")
LABELS = ("negative", "positive")
ROWS = "text,label\n" + "".join(f"a warm film number {n},{LABELS[n % 2]}\n" for n in range(8))


def run(line: str) -> str:
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, f"{line}: {done.output}\n{done.exception!r}"
    return done.output


def follow(guide: str) -> list[str]:
    """Run the lines of a guide that begin with `hub`; return them."""
    text = "\n".join(BLOCK.findall((GUIDES / f"{guide}.md").read_text(encoding="utf-8")))
    lines = [line.partition("  #")[0].strip() for line in text.replace("\\\n", " ").splitlines()]
    lines = [line for line in lines if line.startswith("hub ") and not line.startswith(NOT_RUN)]
    for line in lines:
        run(line)
    return lines


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the reader, who has rows to evaluate on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUB_SERVE__ENGINE", "torch")
    for name in ("test.csv", "new.csv"):
        (tmp_path / name).write_text(ROWS, encoding="utf-8")
    return tmp_path


def test_an_adapter_moves_from_plain_peft_and_changes_by_a_canary(folder: Path) -> None:
    base = tiny_encoder(folder / "my-base")
    for name, seed in (("sst2-lora", 1), ("sst2-2", 2), ("sst2-3", 3)):
        tiny_adapter(base, folder / name, kind=HeadKind.SEQUENCE, labels=LABELS, seed=seed)
    assert len(follow("from-peft")) == 6
    for seed in (2, 3):
        given = f"--task sentiment --base my-base --labels {','.join(LABELS)}"
        run(f"hub adapters import sst2-{seed} mood {given}")
    assert "hub promote mood" in follow("canary")


def test_an_adapter_moves_from_a_lorax_server(folder: Path) -> None:
    base = tiny_decoder(folder / "my-base", "llama")
    tiny_adapter(base, folder / "support-lora", kind=HeadKind.GENERATE, labels=(), seed=1)
    assert len(follow("from-lorax")) == 3


def test_a_team_gets_a_key(folder: Path) -> None:
    text = (GUIDES / "keys.md").read_text(encoding="utf-8")
    created = next(line for line in text.splitlines() if line.startswith("hub keys create"))
    identity = re.search(r"hub_(\w+?)_", run(f"{created} --json"))
    assert identity
    for line in ("list", "usage --days 7", f"rotate {identity[1]} --grace 1d", f"revoke {identity[1]}"):
        assert f"hub keys {line.replace(identity[1], 'ID')}" in text
        run(f"hub keys {line}")
