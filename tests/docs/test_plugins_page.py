"""The page on plugins: its files are written where their first line says, its commands are run in order.

They run in an environment where the plugins were never seen; the first one is called over HTTP in the end.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from hub.bases.cache import Bases
from hub.config import load_settings
from tests.e2e.conftest import Hub
from tests.support.environment import fresh_environment
from tests.support.preloaded import preloaded
from tests.support.tiny import tiny_decoder, tiny_encoder

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_block_of_the_page_works(tmp_path: Path) -> None:
    home = load_settings().home
    # Tiny bases in the place of those that the page trains on.
    Bases(home).pull(str(tiny_encoder(tmp_path / "encoder").path), "minilm")
    Bases(home).pull(str(tiny_decoder(tmp_path / "decoder", "llama").path), "smollm2-135m")
    python = fresh_environment(tmp_path / "env")
    for name in ("hub", "pytest"):
        preloaded(str(python)).write_script(python.parent / name)
    environment = {
        **os.environ,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_BUILD_ISOLATION": "1",  # the test needs no network
        "HUB_SERVE__LOAD_TIMEOUT_S": "300",  # the machine may be busy
    }
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert {language for language, _ in blocks} == {"sh", "toml", "python"}
    for language, block in blocks:
        if language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", block]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        else:
            first, _, text = block.partition("\n")
            file = tmp_path / first.removeprefix("# ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    newcomer = Hub(home, str(python))
    assert "ticket-urgency" in {plugin["name"] for plugin in newcomer.json("plugins", "list")}
    assert "ticket-urgency" not in {plugin["name"] for plugin in Hub(home).json("plugins", "list")}
    with newcomer.serving() as client:
        answer = client.post("/v1/tasks/ticket-urgency", json={"text": "The site is down, help at once!"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-hub-version"] == "ticket-urgency@1"
        assert answer.json()["label"]
        assert "/v1/tasks/ticket-urgency" in client.get("/docs.json").json()["paths"]
