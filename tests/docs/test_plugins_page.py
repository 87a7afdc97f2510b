"""The pages on writing plugins: files are written where their first line says, commands run in order.

One shell runs a page, in an environment where the plugins were never seen.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from hub.bases.cache import Bases
from hub.cli.quickstart.local_server import free_port
from tests.e2e.conftest import Hub
from tests.support.environment import fresh_environment
from tests.support.preloaded import preloaded
from tests.support.tiny import tiny_decoder, tiny_encoder

pytestmark = pytest.mark.installs

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment, whose `hub` and `pytest` are forked."""
    python = fresh_environment(tmp_path_factory.mktemp("newcomer") / "env")
    for name in ("hub", "pytest"):
        preloaded(str(python)).write_script(python.parent / name)
    return python


def give_bases(home: Path, folder: Path) -> None:
    """Put tiny bases in the place of those that the pages train on."""
    Bases(home).pull(str(tiny_encoder(folder / "encoder").path), "minilm")
    Bases(home).pull(str(tiny_decoder(folder / "decoder", "llama").path), "smollm2-135m")


def run_page(page: str, folder: Path, python: Path, **variables: str) -> None:
    """Run all blocks of a page in a folder, in one shell that ends at the first command that fails."""
    text = (DOCS / page).read_text(encoding="utf-8")
    server, index = str(free_port(0)), str(free_port(0))
    text = text.replace(":3000", f":{server}").replace("8801", index)
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
    for language, block in BLOCK.findall(text):
        assert language in ("sh", "toml", "python")
        lines.append(block if language == "sh" else _written(block))
    environment = {
        **os.environ,
        **variables,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_BUILD_ISOLATION": "1",  # the test needs no network
        "HUB_SERVE__PORT": server,
        "HUB_SERVE__ENGINE": "torch",  # nothing is exported or measured
        "HUB_SERVE__LOAD_TIMEOUT_S": "300",  # the machine may be busy
    }
    command = ["bash", "-x", "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def _written(block: str) -> str:
    """Return the command that writes a block to the file that its first line names."""
    first, _, text = block.partition("\n")
    file = first.removeprefix("# ")
    return f"mkdir -p {Path(file).parent}\nprintf %s {shlex.quote(text)} > {file}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_block_of_the_page_works(tmp_path: Path, python: Path) -> None:
    home = tmp_path / "hub-home"
    give_bases(home, tmp_path)
    run_page("plugins.md", tmp_path, python, HUB_HOME=str(home))
    newcomer = Hub(home, str(python))
    assert "ticket-urgency" in {plugin["name"] for plugin in newcomer.json("plugins", "list")}
    here = Hub(home, forked=False)  # `list` imports little
    assert "ticket-urgency" not in {plugin["name"] for plugin in here.json("plugins", "list")}
    with newcomer.serving() as client:
        answer = client.post("/v1/tasks/ticket-urgency", json={"text": "The site is down, help at once!"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-hub-version"] == "ticket-urgency@1"
        assert answer.json()["label"]
        assert "/v1/tasks/ticket-urgency" in client.get("/docs.json").json()["paths"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_plugin_goes_from_new_to_an_index_and_from_there_to_another_hub(
    tmp_path: Path, python: Path
) -> None:
    give_bases(tmp_path / "other-hub", tmp_path)
    run_page("plugins/tutorial.md", tmp_path, python)
    hub = Hub(tmp_path / "other-hub", str(python))
    assert "mail-triage" not in {plugin["name"] for plugin in hub.json("plugins", "list")}
    assert [(one["name"], one["number"]) for one in hub.json("adapters", "list")] == [("messages", 1)]
