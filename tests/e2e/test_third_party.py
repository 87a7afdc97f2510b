"""Plugins of others, written from the documentation: a task, a task with a base and an engine, and a reader.

Their wheels are built, installed, trained on, deployed, called, upgraded, broken, disabled and removed, while
adapters are deployed. A deployment of a built-in task answers all along.
"""

from __future__ import annotations

import csv
import mailbox
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.registry.install.installer import find_uv
from tests.e2e.conftest import Hub
from tests.support.environment import fresh_environment
from tests.support.homes import FakeHome
from tests.support.preloaded import preloaded
from tests.support.tiny_bases import tiny_encoder
from tests.support.wheels import build_wheels

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.installs]

SOURCES = Path(__file__).parents[1] / "fixtures" / "third_party"
STARS, LANGUAGE, MBOX = "grafthub-star-rating", "grafthub-language-id", "grafthub-mbox-reader"
PACKAGE = "src/grafthub_star_rating"
# Later versions of the rating: file, its text, and what takes its place.
LATER = {
    "0.2.0": ("task.py", "mean=mean)", "mean=round(mean, 1))"),
    "0.3.0": ("task.py", "tokenizer(request.text", "self.out_of_order(request.text"),
    "0.4.0": ("spec.py", "from hub.api import", "import a_module_of_nobody\nfrom hub.api import"),
}
REVIEW = {"text": "The best kettle I ever had."}


@dataclass(frozen=True)
class Shop:
    """An environment in which the plugins are installed, their wheels, and a home with their adapters."""

    hub: Hub
    wheels: dict[str, Path]
    folder: Path

    def plugins(self) -> dict[str, dict[str, Any]]:
        return {one["distribution"]: one for one in self.hub.json("plugins", "list")}

    def install(self, wheel: str) -> str:
        return self.hub.run("plugins", "install", str(self.wheels[wheel]))

    def fails(self, *words: str) -> str:
        """Run a command that must fail; return its error."""
        done = preloaded(self.hub.python).run("hub", *words, env=self.hub.env)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr


def write_later(folder: Path) -> Iterator[Path]:
    """Copy each plugin, and the later versions of the rating."""
    clean = shutil.ignore_patterns("__pycache__")
    for name in ("star-rating", "language-id", "mbox-reader"):
        yield Path(shutil.copytree(SOURCES / name, folder / name, ignore=clean))
    for version, (file, old, new) in LATER.items():
        copy = Path(shutil.copytree(SOURCES / "star-rating", folder / version, ignore=clean))
        for changed, before, after in ((f"{PACKAGE}/{file}", old, new), ("pyproject.toml", "0.1.0", version)):
            text = (copy / changed).read_text(encoding="utf-8")
            assert before in text
            # The hub is one of the dependencies, with the same version.
            (copy / changed).write_text(text.replace(before, after, 1), encoding="utf-8")
        yield copy


def write_mails(file: Path) -> None:
    """Write the reviews of the rating's sample data as a mailbox."""
    box = mailbox.mbox(file)
    with (SOURCES / "star-rating" / "data" / "reviews.csv").open(newline="") as rows:
        for row in list(csv.DictReader(rows))[:40]:
            message = EmailMessage()
            message["Subject"], message["X-Label"] = "Review", row["stars"]
            message.set_content(row["text"])
            box.add(message)
    box.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Install the first versions, train both tasks, and deploy them beside a built-in one."""
    folder = tmp_path_factory.mktemp("third-party")
    wheels = build_wheels(folder / "wheels", list(write_later(folder)))
    python = fresh_environment(folder / "env")
    shop = Shop(Hub(folder / "hub-home", str(python)), wheels, folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HUB_")]:
            patch.delenv(name)
        patch.setenv("PIP_NO_INDEX", "1")
        if uv := find_uv():  # much faster than pip
            patch.setenv("PATH", str(Path(uv).parent), prepend=os.pathsep)
        other = FakeHome(shop.hub.home, tiny_encoder(folder / "tiny").path)
        other.add("mood")
        other.store.close()
        for name in (STARS, LANGUAGE, MBOX):
            assert "is installed" in shop.install(f"{name}-0.1.0")
        write_mails(folder / "mails.mbox")
        shop.hub.run("deploy", "mood@1")
        yield shop


def train(shop: Shop, name: str, *settings: str) -> dict[str, Any]:
    common = ("evaluate.int8=false", "report.trackers=[]", *settings)
    options = [part for setting in common for part in ("--set", setting)]
    return shop.hub.json("train", str(shop.folder / name), "--deploy", name, *options)


def test_each_passes_its_own_tests(shop: Shop) -> None:
    for name in ("star-rating", "language-id", "mbox-reader"):
        words = ("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", str(shop.folder / name / "tests"))
        done = preloaded(shop.hub.python).run("pytest", *words, env=shop.hub.env, cwd=shop.folder / name)
        assert done.returncode == 0, done.stdout + done.stderr


BODIES = {"star-rating": REVIEW, "language-id": {"text": "Guten Abend"}, "mood": REVIEW}


def ask(client: httpx.Client) -> dict[str, Any]:
    """Ask each deployment; return its answer, or the code of its error."""
    answers = {}
    for name, body in BODIES.items():
        reply = client.post(f"/v1/deployments/{name}/predict", json=body)
        answers[name] = reply.json() if reply.is_success else reply.json()["error"]["code"]
    return answers


def test_they_are_called_upgraded_broken_disabled_and_removed_while_others_answer(shop: Shop) -> None:
    assert train(shop, "language-id", "base=ngrams:512")["version"] == "language-id@1"
    mails = (f"data.source={shop.folder / 'mails.mbox'}", "data.columns={stars: label}", "train.epochs=2")
    trained = train(shop, "star-rating", "base=tiny", *mails)
    assert (trained["version"], trained["rows"]["train"]) == ("star-rating@1", 30)
    with shop.hub.serving("--engine", "torch") as client:
        first = called(shop, client)
        upgraded = second(shop, client, first)
        broken(shop, client, upgraded)
        gone_and_back(shop, client, upgraded)
    assert "Nothing to repair" in shop.hub.run("doctor")


def called(shop: Shop, client: httpx.Client) -> dict[str, Any]:
    """Each task answers, on the engine of its base."""
    first = ask(client)
    assert first["star-rating"]["stars"] in {1, 2, 3, 4, 5}
    assert first["language-id"]["language"] in {"de", "en", "fr"}
    engines = {one["base"]: one["engine"]["name"] for one in shop.hub.json("status")["engines"]}
    assert (engines["ngrams-512"], engines["tiny"]) == ("ngrams", "torch")
    return first


def second(shop: Shop, client: httpx.Client, first: dict[str, Any]) -> dict[str, Any]:
    """An upgrade changes the answers of its own deployment once the server takes it in."""
    assert "Deployments need grafthub-star-rating: star-rating" in shop.fails("plugins", "uninstall", STARS)
    shop.install(f"{STARS}-0.2.0")
    assert ask(client) == first
    shop.hub.run("plugins", "reload")
    rounded = {**first["star-rating"], "mean": round(first["star-rating"]["mean"], 1)}
    upgraded = ask(client)
    assert upgraded == {**first, "star-rating": rounded}
    return upgraded


def broken(shop: Shop, client: httpx.Client, upgraded: dict[str, Any]) -> None:
    """A version that cannot be imported is not left installed; one that cannot answer is not taken in."""
    error = shop.fails("plugins", "install", str(shop.wheels[f"{STARS}-0.4.0"]), "--yes")
    assert "No module named 'a_module_of_nobody'" in error
    assert "0.2.0 is installed again" in error
    assert shop.plugins()[STARS]["change"] == "", "the server runs what is installed"
    shop.hub.run("plugins", "install", str(shop.wheels[f"{STARS}-0.3.0"]), "--yes")
    error = shop.fails("plugins", "reload")
    assert "(deployments_lost)" in error and "star-rating" in error
    assert ask(client) == upgraded


def gone_and_back(shop: Shop, client: httpx.Client, upgraded: dict[str, Any]) -> None:
    """Without its plugin a deployment says so, the others go on, and it answers again once that is back."""
    shop.hub.run("plugins", "disable", LANGUAGE)
    shop.hub.run("plugins", "uninstall", MBOX)
    shop.hub.run("plugins", "uninstall", STARS, "--force")
    assert {STARS, MBOX}.isdisjoint(one for one, found in shop.plugins().items() if found["version"])
    shop.hub.run("plugins", "reload", "--force")
    lost = {"star-rating": "not_ready", "language-id": "not_ready"}
    assert ask(client) == {**upgraded, **lost}
    shop.hub.run("plugins", "enable", LANGUAGE)
    shop.install(f"{STARS}-0.2.0")
    shop.hub.run("plugins", "reload")
    assert ask(client) == upgraded
